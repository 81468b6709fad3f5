"""`dlresearch generate`: what it makes, where it puts it, and which flags a task takes."""

import re
import shutil

import jax
import numpy as np
import pytest

from dlresearch.config import load, validate
from dlresearch.training import Setup, learned
from dlresearch.training.checkpoints import Checkpoints
from helpers.verbs import call, process

TEXT = "to be, or not to be: that is the question\n" * 20

LANGUAGE = """
from dlresearch.config import component, default_config


def get_config():
    config = default_config()
    config.duration = 2
    config.batch_size = 4
    config.task = component("language_model")
    config.model = component("recurrent_language_model", width=8, layers=1)
    config.data.source = component("text", path="text.txt", length=8)
    return config
"""

# A task of a user's, which says what it was given.
ECHO = """
from dlresearch.config import component, default_config
from dlresearch.tasks import Classification


class Echo(Classification):
    def generate(self, variables, key, *, lines, beam=1, temperature=1.0, attention_maps=False):
        yield f"beam {beam}, temperature {temperature}"
        for line in lines:
            yield line.upper()
            if attention_maps:
                yield f"{line}.txt", line.encode()


def get_config():
    config = default_config()
    config.duration = 4
    config.batch_size = 32
    config.task = component("echo:Echo", num_classes=10)
    config.model = component("mlp", hidden=())
    config.data.preprocess = (component("normalise"),)
    config.average.decay = 0.5
    config.checkpoint.every = 2
    return config
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs `language`, whose text is gone, and `echo`; and lines in files."""
    path = tmp_path_factory.mktemp("generate")
    (path / "text.txt").write_text(TEXT)
    (path / "language.py").write_text(LANGUAGE)
    (path / "echo.py").write_text(ECHO)
    (path / "lines.txt").write_text("one\r\nzwölf\n", encoding="utf-8")
    (path / "latin.txt").write_bytes("one\nzwölf\n".encode("latin-1"))
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(path)
        for name in ("language", "echo"):
            answer = call("train", f"--config={name}.py", f"--workdir={path}/{name}")
            assert (answer.status, answer.err) == (0, "")
    (path / "text.txt").unlink()
    return path


@pytest.fixture(autouse=True)
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)


@pytest.mark.slow
def test_text_goes_on_from_a_prompt_without_the_training_text():
    argv = ["--workdir=language", "--prompt=to be", "--length=20", "--seed=3"]
    answer = call("generate", *argv)
    assert (answer.status, answer.err) == (0, "")
    assert answer.out.startswith("to be") and set(answer.out) <= set(TEXT)
    assert len(answer.out) == len("to be") + 20 + 1
    assert call("generate", *argv).out == answer.out
    assert call("generate", *argv, "--seed=4").out != answer.out


def test_text_goes_to_a_file_as_it_would_to_the_terminal(folder):
    argv = ["--workdir=language", "--length=5", "--count=3", "--temperature=0.5", "--top_k=3"]
    printed = call("generate", *argv).out
    answer = call("generate", *argv, "--output=made.txt")
    assert (answer.status, answer.out, answer.err) == (0, "", "")
    assert (folder / "made.txt").read_text() == printed


def test_lines_of_a_file_reach_the_task_and_files_the_run(folder):
    answer = call("generate", "--workdir=echo", "--input=lines.txt", "--beam=3", "--attention_maps")
    made = folder / "echo/artifacts/generated/4"
    assert answer.out.splitlines() == [
        "beam 3, temperature 1.0",
        "ONE",
        f"{made}/one.txt",
        "ZWÖLF",
        f"{made}/zwölf.txt",
    ]
    assert (made / "zwölf.txt").read_text(encoding="utf-8") == "zwölf"


def test_variables_are_those_that_evaluation_reads(folder):
    experiment = validate(load(f"{folder}/echo/config.json", []))
    setup = Setup(experiment)
    for which, step in (("newest", 4), ("2", 2)):
        _, variables, found = learned(experiment, f"{folder}/echo", which)
        checkpoints = Checkpoints(folder / "echo/checkpoints", lambda step: None, read_only=True)
        state = checkpoints.restore(setup.abstract_state, step).state
        expected = setup.evaluation_variables(state.variables)
        assert found == step
        jax.tree.map(np.testing.assert_array_equal, variables.params, expected.params)
        assert variables.state == expected.state == {"model": {}}
        average = jax.tree.leaves(variables.params)[0]
        assert not np.array_equal(average, jax.tree.leaves(state.variables.params)[0])


MISTAKES = {
    "--workdir=language --prompt=né": r"--prompt: the character 'é' \(U\+00E9\) is not in the",
    "--workdir=language --beam=3": "--beam: the task language_model has no use for it; it takes"
    " --prompt, --length, --count, --temperature, --top_k, --top_p$",
    "--workdir=language --input=lines.txt": "--input: the task language_model has no use for it",
    "--workdir=language --temperature=-1": r"--temperature=-1.0: use 0 \(the likeliest symbol\)",
    "--workdir=language --top_p=2": "--top_p=2.0: use more than 0 and at most 1",
    "--workdir=language --top_k=0": "--top_k=0: use 1 or more",
    "--workdir=language --length=0": "--length",
    "--workdir=language --lenght=5": "there is no flag --lenght; did you mean '--length'?",
    "--workdir=language --step=7": "--step=7: there are newest, best and 1, 2$",
    "--workdir=language --output=no/made.txt": "--output: cannot write no/made.txt: No such file",
    "--workdir=echo --prompt=x": "--prompt: the task echo:Echo has no use for it; it takes"
    " --input, --beam, --temperature, --attention_maps$",
    "--workdir=echo --input=none.txt": "--input: none.txt: cannot be read: No such file",
    "--workdir=echo --input=latin.txt": "--input: latin.txt: line 2 is not UTF-8",
    "--workdir=echo --config.task=classification(num_classes=10)": "config.task.name:"
    " classification makes nothing new; language_model, translation, polyphonic_music and gan"
    " do",
    "--workdir=nowhere": "nowhere holds no run",
    "": "--workdir=DIR is missing",
}


@pytest.mark.parametrize("command", MISTAKES)
def test_mistakes_are_one_line(command):
    answer = call("generate", *command.split())
    answer.assert_mistake()
    assert re.search(MISTAKES[command], answer.err.strip())


def test_damaged_checkpoint_is_a_mistake(folder, tmp_path):
    shutil.copytree(folder / "echo", tmp_path / "echo")
    for file in (tmp_path / "echo/checkpoints/4").rglob("*"):
        if file.is_file() and "state" in str(file.relative_to(tmp_path)):
            file.write_bytes(b"")
    answer = call("generate", f"--workdir={tmp_path}/echo", "--input=lines.txt")
    answer.assert_mistake("checkpoints/4 is damaged", "choose another with --step")


@pytest.mark.slow
def test_standard_input_is_read_where_no_file_is_given(folder):
    answer = process("dlresearch.cli", "generate", "--workdir=echo", stdin="three\n")
    assert (answer.status, answer.out) == (0, "beam 1, temperature 1.0\nTHREE\n")
