"""Download a TFDS data set and write it as array_record, which is read without TensorFlow.

    python -m dlresearch.data.prepare --dataset=mnist --data_dir=~/tensorflow_datasets

TFDS encodes with TensorFlow, so this one step needs it: `pip install 'dlresearch[prepare]'`. The
text and music of `builders` has no images, and is written without.
"""

import argparse
import importlib.util
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from dlresearch.data.builders import BUILDERS, register
from dlresearch.errors import UserError, suggest


def prepare(dataset: str, data_dir: str | None = None, manual_dir: str | None = None) -> None:
    """Write all splits of a data set to `data_dir`.

    Args:
      dataset: a TFDS name, or one of `builders`: `mnist`, `name/config`, `name:version`.
      data_dir: where to; None takes `$TFDS_DATA_DIR`, or else `~/tensorflow_datasets`.
      manual_dir: where files lie that TFDS cannot download itself.

    Raises:
      UserError: TensorFlow is not installed and needed, TFDS has no such data set or config, or its
        files have to be put into `manual_dir` first.
    """
    name = re.split(r"[/:]", dataset)[0]
    if name in BUILDERS:
        register(name)
    elif importlib.util.find_spec("tensorflow") is None:
        raise UserError(
            f"preparing {name} needs TensorFlow, which training and {', '.join(BUILDERS)} do not:"
            " pip install 'dlresearch[prepare]'"
        )
    import tensorflow_datasets as tfds

    root = None if data_dir is None else str(Path(data_dir).expanduser())
    try:
        builder = tfds.builder(dataset, data_dir=root, file_format="array_record")
    except tfds.core.DatasetNotFoundError:
        known = {*tfds.list_builders(with_community_datasets=False), *BUILDERS}
        raise UserError(f"TFDS has no data set {dataset!r}; {suggest(dataset, known)}") from None
    # What TFDS raises for a config, and for a version, that there is not.
    except (ValueError, AssertionError) as error:
        message = " ".join(str(error).split())
        if "BuilderConfig" in message:
            configs = tfds.builder_cls(name).builder_configs
            config_name = dataset.removeprefix(f"{name}/").split(":")[0]
            raise UserError(
                f"{name} has no config {config_name!r}; {suggest(config_name, configs)}"
            ) from None
        if "cannot be loaded at version" in message:
            raise UserError(message.split('": ')[-1]) from None
        raise
    folder = None if manual_dir is None else Path(manual_dir).expanduser()
    config = tfds.download.DownloadConfig(manual_dir=folder)
    try:
        builder.download_and_prepare(download_config=config)
    except AssertionError as error:  # what TFDS raises where manual files are missing
        if "anual" not in str(error):
            raise
        raise UserError(f"{dataset}: {' '.join(str(error).split())}; set --manual_dir") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dataset", required=True, help="TFDS name, such as mnist")
    parser.add_argument("--data_dir", help="where to write; default ~/tensorflow_datasets")
    parser.add_argument("--manual_dir", help="where files lie that you downloaded yourself")
    given = parser.parse_args(arguments)
    try:
        prepare(given.dataset, given.data_dir, given.manual_dir)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
