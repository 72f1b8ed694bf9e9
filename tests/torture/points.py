# SPDX-License-Identifier: Apache-2.0
"""
points.py - what must follow when a process dies at a crash point

The table was written from the contracts, not from what the code does: which step was durable when the process died decides what the
next command must say. `python3 tests/torture/points.py` prints it.

A row: the point, how it is reached (a scenario of test_crash_points.py), how the command of that scenario ends, what is true of the
box once all is quiet, and what is done with it then.

    ends    killed: it was the command itself that died; fails, succeeds: a process of its died, and that is what it made of it
    state   absent: no record of it; else its status; a number is the exit code that must be told with it
    then    start: it starts and answers; rm: it is removed; again: the same command does all of its work
"""
import collections

Row = collections.namedtuple("Row", "point scenario ends state then")


def rows(scenario, ends, state, then, *points):
    """Rows that differ in their point only; the last of several thens goes on to the end."""
    thens = then.split()
    return [Row(point, scenario, ends, state, thens[min(turn, len(thens) - 1)]) for turn, point in enumerate(points)]


TABLE = (
    # A home that is set up half-way is no home of another kind.
    rows("open", "killed", "absent", "again",
         "open:locks-probed", "open:boxes-made", "open:database-made", "open:tables-begun", "open:tables-made")
    # The record is what makes a box; all before it is swept.
    + rows("create", "killed", "absent", "again",
           "create:directory-made", "create:lock-made", "create:locked", "create:files-made", "create:base-linked",
           "create:overlay-made", "create:overlay-written", "create:overlay-synced")
    + rows("create", "killed", "configured", "rm start", "create:recorded", "create:unlocked")
    # Until "starting" is recorded nothing has happened to the box.
    + rows("start", "killed", "configured", "start rm", "start:locked", "start:swept", "start:report-removed",
           "start:counted", "start:linked")
    # Recorded, and no host process ever lived: the start failed.
    + rows("start", "killed", "failed", "start rm",
           "start:recorded-starting", "start:log-opened", "start:configuration-written")
    # From its birth the host process goes on alone, and holds the lifecycle lock until it is ready.
    + rows("start", "killed", "running", "start rm",
           "start:child-made", "start:spawned", "start:registered", "start:answered", "start:recorded-running", "start:unlocked")
    # The host process dies before it said ready: the start fails, and says so.
    + rows("start", "fails", "failed", "start rm", "start:child-alone", "start:child-placed", "shim:begun", "shim:configured")
    + rows("start", "fails", "failed", "rm",
           "shim:locked", "shim:report-removed", "shim:temporary-made", "shim:pid-written", "shim:logs-opened", "shim:disks-opened",
           "shim:listening", "shim:engine-started")
    + rows("start", "fails", "failed", "start rm",
           "shim:engine-forked", "engine:child-bound", "engine:child-placed", "shim:guest-greeted", "shim:guest-ready")
    + rows("start", "fails", "failed", "rm start", "shim:stream-opened", "shim:workload-opened")
    # A template is whole or not there, and the box that made it is a box that did not start.
    + rows("start", "fails", "failed", "start rm start",
           "shim:templates-made", "shim:templates-swept", "shim:template-begun", "shim:template-written", "shim:template-kept")
    # No machine goes on from the template that there is: had neither process died, another one would boot the box.
    + rows("start-spoilt", "fails", "failed", "start", "shim:template-refused")
    + rows("start-spoilt", "killed", "failed", "start", "start:another")
    # Once it runs, the template is marked.
    + rows("start-spoilt", "killed", "running", "start rm", "start:template-removed", "start:template-rejected")
    # It said ready before it died: the start succeeded, the box did not last.
    + rows("start", "succeeds", 137, "start rm", "shim:answered", "shim:unlocked")
    # A start that fails anyway, and whose command dies while it clears up.
    + rows("start-broken", "killed", "failed", "start rm", "start:failed-ended", "start:failed-recorded")
    # The workload has ended and comes back in the same machine; the host process that sees to that dies, and nobody else was asked yet.
    + rows("restart", "succeeds", 137, "rm", "shim:counted", "shim:opened-again")
    # A box that goes with its end is gone for all who look, whatever is left of it.
    + rows("end", "succeeds", "absent", "again", "shim:disk-freed")
    # Who talks to a box may die without harm to it.
    + rows("exec", "killed", "running", "start rm", "exec:connected", "exec:sent", "exec:opened", "exec:output", "exec:exited")
    + rows("exec-boots", "killed", "running", "start", "exec:started")
    + rows("exec", "fails", 137, "start rm", "shim:client-accepted", "shim:exec-sent")
    # The exit was on its way already: whether the client heard it is luck, the end of the box is not.
    + rows("exec", "either", 137, "rm", "shim:stream-exited")
    # A stop that was not asked for yet has changed nothing; one that was goes on without its command.
    + rows("stop", "killed", "running", "rm start", "stop:locked", "stop:recorded-stopping")
    + rows("stop", "killed", "stopped", "start rm",
           "stop:asked", "stop:shim-gone", "stop:disk-free", "stop:swept", "stop:recorded")
    + rows("stop-unheard", "killed", "stopped", "rm", "stop:terminated")
    # The host process dies while it ends the box: the stop succeeds; before its report is in place nobody knows the code.
    + rows("stop", "succeeds", 137, "start rm",
           "shim:stop-asked", "shim:shutdown-sent", "shim:workload-exited", "shim:guest-down", "shim:engine-told",
           "shim:engine-ended", "shim:temporary-made@2")
    + rows("stop", "succeeds", "stopped", "rm start rm",
           "shim:report-written", "shim:torn-down", "shim:socket-removed", "shim:pid-removed", "shim:finished")
    # Removing begins with the record: from there on there is no box.
    + rows("rm", "killed", "configured", "start rm", "rm:locked", "rm:stopped")
    # The name's link goes before; the next start makes it again.
    + rows("rm-force", "killed", 137, "start", "rm:link-removed")
    + rows("rm", "killed", "absent", "again",
           "rm:forgotten", "rm:file-removed", "rm:files-removed", "rm:lock-removed", "rm:directory-removed")
    + rows("rm-force", "killed", 137, "rm", "stop:killed")
    # Told by whoever looks first; dying right after it takes nothing back.
    + rows("look", "killed", 137, "start", "judge:recorded")
    # An image is there when its record is.
    + rows("load", "killed", "absent", "again",
           "load:store-made", "load:swept", "load:locked", "load:disk-begun", "load:layer-applied", "load:disk-built",
           "load:disk-published", "load:record-begun")
    + rows("load", "killed", "present", "again", "load:record-written", "load:unlocked")
    # Removing one begins with its record; a disk that stays is nobody's, and found again by the next load.
    + rows("rmi", "killed", "absent", "again", "rmi:record-removed", "rmi:disk-removed")
)

if __name__ == "__main__":
    for row in TABLE:
        print(f"{row.point:<28} {row.scenario:<13} {row.ends:<9} {row.state!s:<11} {row.then}")
