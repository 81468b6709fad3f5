"""Whatever a user gets wrong on the command line or in a config is answered by one line."""

import pytest

from helpers.verbs import SMALL, call, process


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("mistakes")
    (path / "small.py").write_text(SMALL)
    for name, text in FILES.items():
        (path / name).write_text(text)
    return path


@pytest.fixture(autouse=True)
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)


COMMAND_LINES = {
    "check": "--config=FILE is missing; experiments/cnn/digits.py is a start",
    "check --config=": "give a Python file, such as experiments/cnn/digits.py",
    "check --config=smal.py": "--config=smal.py: there is no such file; did you mean 'small.py'?",
    "check --config=experimens/small.py": "there is no folder experimens",
    "check --config=small": "give a Python file",
    "check --config=small.py fast": "'fast' is not a flag; flags start with --",
    "check --config=small.py:epochs=3": "get_config of this file takes no arguments",
    "check --config=arguments.py:epoch=3": "no config argument 'epoch'; did you mean 'epochs'?",
    "check --config=arguments.py:epochs=many": "epochs: expected a whole number, got 'many'",
    "check --config=arguments.py:epochs": "'epochs' needs a value: epochs=...",
    "check --config=arguments.py:narrow": "there is no config argument 'narrow'; valid: epochs",
    "train --config=small.py": "--workdir=DIR is missing: the folder of the run",
    "train --config=small.py --workdir": "Missing value for flag --workdir",
    "train --config=small.py --worksdir=run": "no flag --worksdir; did you mean '--workdir'?",
    "train --confg=small.py": "there is no flag --confg; did you mean '--config'?",
    "train --batch_size=3": "there is no flag --batch_size; did you mean '--config.batch_size'?",
    "train --learning_rate=3": "did you mean '--config.optimizer.learning_rate'?",
    "train --model.hidden=3": "did you mean '--config.model.hidden'?",
    "train --config.batch_size --workdir=run": "--config.batch_size needs a value",
    "benchmark --config=small.py --calls=many": "--calls=many: ",
    "benchmark --config=small.py --calls=1": "--calls=1: 1 is not integer >= 3",
    "check --config=small.py --devices=0": "--devices=0: ",
    "check --config=small.py --devices=64": "config.batch_size: 32 does not divide by the 64",
    "check --config=small.py --devices=8 --config.mesh.fsdp=3": "does not arrange the 8 devices",
    "check --config=small.py --devices=8 --config.mesh.data=1 --config.mesh.fsdp=8"
    " --config.mesh.rules=((model/Dense_0/kernel,fsdp),)": "config.mesh.rules.0: 'fsdp' for"
    " model/Dense_0/kernel [4, 10]: no axis divides by fsdp=8",
}


@pytest.mark.parametrize("command", COMMAND_LINES)
def test_mistake_on_the_command_line(command):
    verb, *argv = command.split()
    call(verb, *argv).assert_mistake(COMMAND_LINES[command])


FILES = {
    "syntax.py": "def get_config(:\n",
    "no_function.py": "config = 3\n",
    "returns_none.py": "def get_config():\n    pass\n",
    "import.py": "import nolab\n",
    "exception.py": "def get_config():\n    return 1 / 0\n",
    "key.py": SMALL.replace("config.duration = 4", "config.durration = 4"),
    "inner_key.py": SMALL.replace("config.log.every", "config.log.evry"),
    "argument.py": SMALL.replace("widths=", "widhts="),
    "shared.py": SMALL.replace("config.optimizer.schedule", "config.optimizer.shedule"),
    "entry.py": SMALL.replace("every=2", "evry=2"),
    "type.py": SMALL.replace("config.batch_size = 32", "config.batch_size = 'many'"),
    "text.py": SMALL.replace('component("normalise"),', '"normalise",'),
    "no_tuple.py": SMALL.replace('(component("normalise"),)', 'component("normalise")'),
    "broken.json": "{broken",
    "list.json": "[3]",
    "key.json": '{"batchsize": 3}',
    "arguments.py": "from dlresearch.config import arguments, default_config\n"
    "def get_config(arg):\n    arguments(arg, epochs=3)\n    return default_config()\n",
    "mine.py": "class Source:\n    def __getitem__(self, index):\n        return {}\n",
}
MISTAKES_IN_FILES = {
    "syntax.py": "syntax.py:1: SyntaxError: invalid syntax",
    "no_function.py": "the file must define get_config(arg='')",
    "returns_none.py": "get_config must return a ConfigDict, not NoneType",
    "import.py": "import.py:1: ModuleNotFoundError: No module named 'nolab'",
    "exception.py": "exception.py:2: ZeroDivisionError: division by zero",
    "key.py": "key.py:7: the config has no key 'durration'; did you mean 'duration'?",
    "inner_key.py": "inner_key.py:18: the config has no key 'evry'; did you mean 'every'?",
    "argument.py": "config.model.widhts: convnet has no argument 'widhts'; did you mean 'widths'?",
    "shared.py": "config.optimizer.shedule: adam has no argument 'shedule'; did you mean",
    "entry.py": "config.evaluators.test.evry: classification has no argument 'evry'",
    "type.py": "config.batch_size: expected a whole number, got 'many'",
    "text.py": "config.data.preprocess.0: expected a component such as component('name'",
    "no_tuple.py": "config.data.preprocess: expected a tuple of components",
    "broken.json": "--config=broken.json: it is not JSON",
    "list.json": "--config=list.json: it must hold settings by name",
    "key.json": "config.batchsize: there is no such setting; did you mean 'batch_size'?",
}


@pytest.mark.parametrize("file", MISTAKES_IN_FILES)
def test_mistake_in_the_experiment_file(file):
    call("check", f"--config={file}").assert_mistake(MISTAKES_IN_FILES[file])


KEYS = {
    "batchsize=3": "config.batchsize: there is no such setting; did you mean 'batch_size'?",
    "log.evry=3": "config.log.evry: there is no such setting; did you mean 'every'?",
    "batch_size.x=3": "config.batch_size is 32 and has no parts; set it as a whole",
    "model.widhts=3": "config.model.widhts: convnet has no argument 'widhts'; did you mean",
    "model.train=3": "config.model.train: convnet has no argument 'train'; valid: activation",
    "model=mlp(hiden=3)": "config.model.hiden: mlp has no argument 'hiden'; did you mean 'hidden'?",
    "model=mlp(hidden=3": "config.model: ')' is missing in 'mlp(hidden=3'",
    "evaluators.test.evry=3": "config.evaluators.test.evry: classification has no argument 'evry'",
    "evaluators.tset.every=3": "config.evaluators.tset: there is no 'tset' among test; to add it",
    "evaluators.test.source.splt=a": "config.evaluators.test.source.splt: digits has no argument",
    "optimizer.b11=0.9": "config.optimizer.b11: adam has no argument 'b11'; did you mean 'b1'?",
    "optimizer.momentum=0.9": "adam has no argument 'momentum'; valid: b1, b2, clip_norm",
    "optimizer.decay_mask=1": "the trainer provides 'decay_mask'; it cannot be set here",
    "optimizer.schedule.warmpu=3": "cosine has no argument 'warmpu'; did you mean 'warmup'?",
    "optimizers.generator.name=adam": "config.optimizers.generator: no player of the task",
    "data.source.splt=test": "config.data.source.splt: digits has no argument 'splt'; did you mean",
    "data.augmentations.0.paddin=2": "config.data.augmentations.0.paddin: shifted_crop has no",
    "data.augmentations.3.padding=2": "config.data.augmentations has 1 elements, counted from 0",
    "task.label_smothing=0.1": "classification has no argument 'label_smothing'; did you mean",
}
NAMES = {
    "data.source=digit": "config.data.source.name: no source is called 'digit'; did you mean",
    "data.transforms=resiz": "config.data.transforms.0.name: no transform is called 'resiz'",
    "data.augmentations=flp": "config.data.augmentations.0.name: no augmentation is called 'flp'",
    "model=convnett": "config.model.name: no model is called 'convnett'; did you mean 'convnet'?",
    "optimizer=adamm": "config.optimizer.name: no optimizer is called 'adamm'; did you mean",
    "optimizer.schedule=cosin": "no schedule is called 'cosin'; did you mean 'cosine'?",
    "task=clasification": "no task is called 'clasification'; did you mean 'classification'?",
    "evaluators.test=acuracy": "config.evaluators.test.name: no evaluator is called 'acuracy'",
    "model=nolab.models:Net": "config.model.name: cannot import 'nolab.models'",
    "model=dlresearch.models:MLPP": "dlresearch.models has no 'MLPP'; did you mean 'MLP'?",
    "model=dlresearch.models.layers:ACTIVATIONS": "is neither a class nor a function",
    "model=builtins:dict": "config.model: dict makes a dict; a model is a flax.linen or",
    "data.source=mine:Source": "config.data.source: mine:Source is no source, it lacks __len__",
    "task=dlresearch.models:MLP(num_outputs=3)": "is no task, it lacks players, predict",
}
TYPES = {
    "batch_size=many": "config.batch_size: expected a whole number, got 'many'",
    "batch_size=1.5": "config.batch_size: expected a whole number, got '1.5'",
    "log.tensorboard=perhaps": "config.log.tensorboard: expected true or false, got 'perhaps'",
    "duration=10 epocs": "config.duration: durations have no unit 'epocs'; did you mean 'epochs'?",
    "duration=ten epochs": "'ten epochs' is not a duration; write a number of steps, or such as",
    "model.widths=(4,wide)": "config.model.widths.1: expected a whole number, got 'wide'",
    "model=3": "config.model: expected a component such as component('name', argument=1), got 3",
    "data=None": "config.data: expected a mapping of settings, got None",
    "precision=float64": "must be one of float32, bfloat16, float16, got 'float64'; did you mean",
    "data.placement=residnt": "must be one of resident, streamed, got 'residnt'; did you mean",
    "model.activation=rellu": "config.model.activation: must be one of elu, gelu, leaky_relu, relu",
    "model.param_dtype=floot": "config.model: param_dtype=floot: use float32, bfloat16 or float16",
    "optimizer.learning_rate_factors=a": "learning_rate_factors.0: expected 2 values, got ('a',)",
}
RANGES = {
    "batch_size=0": "config.batch_size: must be at least 1, got 0",
    "accumulate=3": "config.accumulate: 3 does not divide config.batch_size=32",
    "steps_per_call=0": "config.steps_per_call: must be at least 1, got 0",
    "seed=-1": "config.seed: must be at least 0, got -1",
    "seed=1e10": "config.seed: must be below 2**32, got 10000000000",
    "duration=0": "config.duration: must be more than 0, got '0 steps'",
    "duration=10%": "'10%' is a part of the run itself; give steps, epochs or examples",
    "average.decay=1": "config.average.decay: must be below 1, got 1.0",
    "mesh.data=0": "config.mesh.data: must be at least 1, or -1 for all devices left, got 0",
    "mesh.fsdp=0": "config.mesh.fsdp: must be at least 1, or -1 for all devices left, got 0",
    "mesh.tensor=-2": "config.mesh.tensor: must be at least -1, got -2",
    "mesh.fsdp_min_size=-1": "config.mesh.fsdp_min_size: must be at least 0, got -1",
    "optimizer.learning_rate=nan": "config.optimizer.learning_rate: must be at least 0, got nan",
    "optimizer.learning_rate=inf": "config.optimizer.learning_rate: must be finite",
    "optimizer.clip_norm=0": "0 would stop training; use None for no clipping",
    "optimizer.b1=9": "config.optimizer: b1=9.0 is not in [0, 1)",
    "optimizer.freeze='[a'": "config.optimizer.freeze.0: '[a' is no regular expression",
    "task.label_smoothing=2": "config.task.label_smoothing: 2.0 is not in [0, 1)",
    "task.num_classes=0": "config.task.num_classes: 0 is not at least 1",
    "model.dropout=-0.5": "config.model: dropout=-0.5 is not in [0, 1)",
    "model.widths=(0,)": "config.model: widths=(0,): must be at least 1",
    "data.augmentations=flip(probability=2)": "config.data.augmentations.0: flip: probability=2.0",
    "data.preprocess=normalise(std=0)": "config.data.preprocess.0: normalise: scale=255.0",
    "evaluators.test.top_k=0": "config.evaluators.test: top_k=0: must be at least 1",
}
# What is right by itself and does not go with the rest.
MISFITS = {
    "mesh.data=2": "config.mesh: data=2, fsdp=1, tensor=1 does not arrange the 1 devices",
    "mesh.fsdp=-1": "config.mesh: only one of data, fsdp can be -1; give the others a number",
    "mesh.rules=((Conv_0/kernel,replicated),)": "config.mesh.rules.0: 'Conv_0/kernel' matches no"
    " whole parameter path; closest of 5: model/Conv_0/kernel",
    "mesh.rules=(('model/(.*',replicated),)": "config.mesh.rules.0: 'model/(.*' is no regular",
    "mesh.rules=((model/Dense.*,fspd),)": "config.mesh.rules.0: 'fspd' for model/Dense_0/bias [10]:"
    " 'fspd' is no way to split an axis; did you mean 'fsdp'?",
    "mesh.rules=((model/Dense.*,- tensor),)": "config.mesh.rules.0: '- tensor' for"
    " model/Dense_0/bias [10]: words: 2, axes: 1; write a word for each axis",
    "mesh.rules=((model/Dense.*kernel,fsdp fsdp),)": "an array is split over fsdp along one axis",
    "task.inputs=images": "config.task.inputs: examples have no 'images'; they have image, label",
    "task.labels=labels": "config.task.labels: examples have no 'labels'; they have image, label",
    "task.inputs=label": "config.model: convnet reads images [batch, height, width, channel]",
    "task.num_classes=3": "config.data.source: 'label': label 9 is outside 0 to 2",
    "task=regression(inputs=image,target=label)": "evaluators.test: the model gives [359, 1] and",
    "evaluators.test=regression": "config.evaluators.test: target: examples have no 'target'",
    "evaluators.test.labels=lable": "config.evaluators.test: labels: examples have no 'lable'",
    "evaluators.test.top_k=20": "config.evaluators.test: top_k=20: there are 10 classes",
    "model.widths=(4,4,4,4)": "config.model: images of 8x8 are too small for 4 stages",
    "model=mlp(num_outputs=3)": "config.model: its output has shape (32, 3); labels of shape (32,)",
    "optimizer.freeze=Cov.*": "config.optimizer.freeze: 'Cov.*' matches no whole parameter path; "
    "closest of 5: Conv_0/kernel",
    "optimizer.learning_rate_factors=((Cov.*,2),)": "optimizer.learning_rate_factors: 'Cov.*'",
    "data.preprocess=flip": "config.data.preprocess.0: it is random; move it to",
    "data.preprocess=normalise(mean=(1,2,3))": "config.data.preprocess.0: normalise: mean has 3",
    "data.augmentations.0.padding=8": "config.data.augmentations.0: shifted_crop: cannot reflect",
    "data.transforms=select(keys=imge)": "select: the example has no 'imge'; did you mean 'image'?",
    "checkpoint.best=tset/accuracy": "config.checkpoint.best: 'tset/accuracy' is no metric",
    "checkpoint.best=test/acuracy": "there is no 'test/acuracy'; did you mean 'test/accuracy'?",
    "optimizer=optax:adamw": "optax:adamw has no parameter decay_mask; give it these",
}
SETTINGS = {**KEYS, **NAMES, **TYPES, **RANGES, **MISFITS}


@pytest.mark.parametrize("setting", SETTINGS)
def test_mistake_in_a_setting(setting):
    more = ["--config.optimizer.weight_decay=0.1"] if "optax" in setting else []
    answer = call("check", "--config=small.py", f"--config.{setting}", *more)
    answer.assert_mistake(SETTINGS[setting])


PROCESSES = {
    "dlresearch.cli trian": "no verb 'trian'; did you mean 'train'?",
    "dlresearch.train --config=small.py": "--workdir=DIR is missing",
    "dlresearch.check --config=small.py --checkpoint=3": "there is no flag --checkpoint",
    "dlresearch.check --config=small.py --config.model.widhts=3": "did you mean 'widths'?",
}


@pytest.mark.parametrize("command", PROCESSES)
def test_mistake_in_a_process_of_its_own(command):
    module, *argv = command.split()
    process(module, *argv).assert_mistake(PROCESSES[command])


@pytest.mark.slow
def test_device_that_is_not_there(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "tpuu")
    answer = process("dlresearch.check", "--config=small.py")
    answer.assert_mistake("JAX_PLATFORMS=tpuu: JAX finds no such device here; install JAX for it")


@pytest.mark.slow
def test_batch_that_devices_cannot_share():
    answer = process("dlresearch.check", "--config=small.py", "--config.batch_size=12", devices=8)
    answer.assert_mistake("config.batch_size: 12 does not divide by the 8 devices", "use 8 or 16")
