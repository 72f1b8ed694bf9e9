# SPDX-License-Identifier: Apache-2.0
"""A box from its start to its report."""


def test_attached_workload_runs_to_its_end(box):
    with box.start(args=["sh", "-c", "echo out; echo err >&2; exit 3"], start_on_attach=True) as shim:
        shim.start_ready()
        workload = shim.connect().attach().wait()
        assert (workload.stdout, workload.stderr, workload.code) == (b"out\n", b"err\n", 3)
        assert shim.wait() == 0
    report = box.report()
    assert (report["type"], report["exit_code"], report["ready"], report["message"]) == ("workload", 3, True, "")
    assert sorted(line.split(" ", 1)[1] for line in box.read("logs/output.log").splitlines()) == ["stderr F err", "stdout F out"]
