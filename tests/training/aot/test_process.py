"""A compiler that refuses, crashes or is not there ends the command with one line."""

import importlib.util
import json
import os

import pytest

from dlresearch.errors import Failure, UserError
from dlresearch.hardware import target
from dlresearch.training.aot import process
from helpers.verbs import call

DIGITS = "--config=experiments/cnn/digits.py"


def run(monkeypatch, tmp_path, script: str, text: str = "h100") -> None:
    """`compile_for`, with a stand-in for Python that runs a shell script."""
    stand_in = tmp_path / "python"
    stand_in.write_text(f"#!/bin/sh\n{script}\n")
    stand_in.chmod(0o755)
    monkeypatch.setattr(process.sys, "executable", str(stand_in))
    monkeypatch.setattr(process, "check_compiler", lambda target: None)
    process.compile_for(text, target(text), "experiment.py", [("batch_size", "64")])


def test_a_crash_is_one_line_with_the_compilers_own_message(monkeypatch, tmp_path):
    script = (
        "echo 'I1130 23:05:11.123456 4711 other.cc:1] hello' >&2\n"
        "echo 'F1130 23:05:11.123456 4711 tiling.cc:627] Check failed: a == b (784 vs. 56)' >&2\n"
        "echo '    @  0x7f  main' >&2\nkill -ABRT $$"
    )
    with pytest.raises(Failure) as raised:
        run(monkeypatch, tmp_path, script)
    assert str(raised.value) == (
        "experiment.py for 1 x NVIDIA H100: the compiler crashed (SIGABRT):"
        " tiling.cc:627] Check failed: a == b (784 vs. 56)"
    )


def test_a_compiler_that_is_killed_is_one_line(monkeypatch, tmp_path):
    with pytest.raises(Failure, match=r"crashed \(SIGKILL\): it said nothing"):
        run(monkeypatch, tmp_path, "kill -KILL $$")


@pytest.mark.parametrize(("status", "kind"), [(2, UserError), (1, Failure)])
def test_what_the_process_says_is_what_the_user_reads(monkeypatch, tmp_path, status, kind):
    said = "echo noise >&2; echo 'error: it does not fit' >&2"
    with pytest.raises(kind, match=r"^it does not fit$"):
        run(monkeypatch, tmp_path, f"{said}; exit {status}")


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch, tmp_path):
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        run(monkeypatch, tmp_path, "echo 'ZeroDivisionError: division' >&2; exit 1")


def test_no_driver_and_no_server_is_asked(monkeypatch, tmp_path, capfd):
    script = (
        'echo "$JAX_PLATFORMS/$CUDA_VISIBLE_DEVICES/$TPU_SKIP_MDS_QUERY/$TPU_WORKER_HOSTNAMES"\n'
        'for last; do :; done; echo "$last"'
    )
    monkeypatch.setitem(os.environ, "CUDA_VISIBLE_DEVICES", "0,1")
    run(monkeypatch, tmp_path, script, "v5e:2x4")
    first, second = capfd.readouterr().out.splitlines()
    assert first == "cpu//1/localhost"
    assert json.loads(second) == {
        "target": "v5e:2x4",
        "config": "experiment.py",
        "overrides": [["batch_size", "64"]],
        "figures": None,
    }


@pytest.mark.parametrize(("text", "extra"), [("h100:8", "compile-gpu"), ("v5e:2x4", "compile-tpu")])
def test_a_missing_compiler_names_the_extra(monkeypatch, text, extra):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    call("check", DIGITS, f"--for={text}").assert_mistake(f"pip install 'dlresearch[{extra}]'")


def test_mistakes_are_found_before_anything_is_compiled():
    call("check", DIGITS, "--for=h10").assert_mistake("did you mean 'h100'?")
    call("check", DIGITS, "--for=h100", "--devices=8").assert_mistake("give one of them")
    call("check", DIGITS, "--for=h100", "--config.batchsize=8").assert_mistake("batch_size")
