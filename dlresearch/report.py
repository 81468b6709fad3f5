"""`dlresearch report`: one page, report.html, on a run that is over or still going on.

    dlresearch report --workdir=runs/digits

It reads what the run left in its folder, and nothing else.
"""

from pathlib import Path

from dlresearch import entry


def report(overrides: entry.Overrides) -> int:
    """Writes `report.html` into the run folder and prints where."""
    from dlresearch.training.report import write_report
    from dlresearch.training.workdir import Workdir

    if overrides:
        raise entry.UserError("report reads what a run left; it takes no --config settings")
    workdir = Workdir(Path(entry.workdir_flag()).expanduser().absolute())
    write_report(workdir)
    print(workdir.report)
    return 0


def main() -> None:
    entry.run(report)


if __name__ == "__main__":
    main()
