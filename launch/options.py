"""Options of a launch: a flag beats the profile, the profile beats the default.

One table says what there is. Each option is a flag of absl and a key of a profile.
"""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from absl import flags

from dlresearch.errors import UserError, suggest

_PROFILES = (
    Path("~/.config/dlresearch/profiles"),
    Path(__file__).parent / "profiles",  # examples
)


@dataclass(frozen=True)
class Option:
    """One thing that a user may choose.

    Attributes:
      kind: str, int, float, bool, or tuple: several words, as a flag that is repeated.
      default: None where there is nothing to choose by itself.
      lower: the smallest number allowed.
      choices: all words allowed, if not any.
    """

    name: str
    kind: type
    default: Any
    help: str
    lower: float | None = None
    choices: tuple[str, ...] = ()

    def define(self, defined: flags.FlagValues) -> None:
        """As a flag, None where it is not given."""
        define = {
            tuple: flags.DEFINE_multi_string,
            bool: flags.DEFINE_boolean,
            str: flags.DEFINE_string,
            int: flags.DEFINE_integer,
            float: flags.DEFINE_float,
        }
        choices = f" One of {', '.join(self.choices)}." if self.choices else ""
        define[self.kind](self.name, None, f"{self.help}{choices}", flag_values=defined)

    def check(self, value: Any, where: str) -> Any:
        """The value as it is kept.

        Raises:
          UserError: it is of another kind, too small, or not among the choices.
        """
        if self.kind is tuple:
            words = [value] if isinstance(value, str) else value
            if not isinstance(words, list | tuple) or not all(isinstance(w, str) for w in words):
                raise UserError(f"{where}: {value!r} is no list of words")
            return tuple(words)
        if self.kind is float and type(value) is int:
            value = float(value)
        if type(value) is not self.kind:
            kinds = {
                str: "text in quotes",
                int: "an integer",
                float: "a number",
                bool: "true or false",
            }
            raise UserError(f"{where}: {value!r} is not {kinds[self.kind]}")
        if self.lower is not None and value < self.lower:
            raise UserError(f"{where}: {value} is less than {self.lower:g}")
        if self.choices and value not in self.choices:
            raise UserError(f"{where}: there is no {value!r}; {suggest(value, self.choices)}")
        if isinstance(value, str) and "\0" in value:
            raise UserError(f"{where}: a null byte is in it")
        return value


COMMON = (
    Option("backend", str, "local", "local, slurm, tpu_vm or kubernetes."),
    Option("profile", str, None, "Options of a site: a .toml file, or the name of one in"
           " ~/.config/dlresearch/profiles."),
    Option("python", str, None, "Interpreter that runs the experiment, where it runs."),
    Option("env", tuple, (), "NAME=VALUE in the environment of the run; may be given again."),
    Option("setup", tuple, (), "A line of shell that the site needs before a run, such as"
           " `module load cuda`; may be given again."),
    Option("snapshot", bool, True, "Run a copy of the code as it is now. --nosnapshot runs it in"
           " place."),
    Option("grace", int, 90, "Seconds that a run has for saving before it is killed.", lower=1),
    Option("max_restarts", int, 20, "How often a run that saved is started again.", lower=0),
    Option("restarts_without_progress", int, 2, "How often it may start again without a new"
           " checkpoint.", lower=0),
    Option("retry_errors", int, 0, "How often it is started again after a failure.", lower=0),
)  # fmt: skip


@dataclass(frozen=True)
class Chosen:
    """An option's value, and where it is from."""

    value: Any
    origin: str


def read_profile(name: str, known: Iterable[str]) -> tuple[Path, dict[str, Any]]:
    """A profile's file and its keys.

    Args:
      name: a path, or the name of a file in one of the folders of profiles.
      known: names of all options of all backends; a table named as one of the backends would be a
        mistake, too.

    Raises:
      UserError: there is none, it is no TOML, or has a key that nobody knows.
    """
    path = _find_profile(name)
    try:
        table = tomllib.loads(path.read_text())
    except OSError as error:
        raise UserError(f"--profile: {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"--profile: {path} is no TOML: {error}") from None
    known = [each for each in known if each != "profile"]
    for key in table:
        if key not in known:
            raise UserError(f"{path}: there is no option {key!r}; {suggest(key, known)}")
    return path, table


def _find_profile(name: str) -> Path:
    path = Path(name).expanduser()
    if path.suffix == ".toml" or "/" in name:
        if not path.is_file():
            raise UserError(f"--profile: there is no file {name}")
        return path
    folders = [folder.expanduser() for folder in _PROFILES]
    found = [folder / f"{name}.toml" for folder in folders]
    for path in found:
        if path.is_file():
            return path
    names = {path.stem for folder in folders for path in folder.glob("*.toml")}
    raise UserError(f"--profile: there is no profile {name!r}; {suggest(name, names)}")


def resolve(
    options: Sequence[Option],
    given: Mapping[str, Any],
    profile: tuple[Path, Mapping[str, Any]] | None,
    defaults: Mapping[str, Any],
) -> dict[str, Chosen]:
    """Every option's value, and where it is from.

    Args:
      options: those that this backend knows.
      given: on the command line, by name.
      profile: its file and its keys; keys of other backends are left alone, as a site may have
        several.
      defaults: in place of those of the table.

    Raises:
      UserError: a value that is none.
    """
    chosen = {}
    for option in options:
        name = option.name
        if name in given:
            value, where = given[name], f"--{name}"
            if option.kind is tuple and profile and name in profile[1] and name in ("env", "setup"):
                # Those of the site stay: a flag adds to them.
                site = option.check(profile[1][name], f"{profile[0]}: {name}")
                value, where = (*site, *value), f"{profile[0]} and --{name}"
                chosen[name] = Chosen(option.check(value, where), where)
                continue
        elif profile and name in profile[1]:
            value, where = profile[1][name], f"{profile[0]}: {name}"
        else:
            chosen[name] = Chosen(defaults.get(name, option.default), "default")
            continue
        chosen[name] = Chosen(option.check(value, where), where.removesuffix(f": {name}"))
    return chosen


def environment(pairs: Iterable[str]) -> dict[str, str]:
    """The variables of `env`.

    Raises:
      UserError: one is not NAME=VALUE.
    """
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.isidentifier():
            raise UserError(f"--env: {pair!r} is not NAME=VALUE")
        found[name] = value
    return found
