"""The commands of `nodetool` that Holon has an equivalent of; any other skips the test.

| nodetool | here |
| --- | --- |
| `flush`, `compact` | `holon tables flush`, `holon tables compact` |
| `repair` of keyspaces and tables | `holon tables repair` |
| `decommission` | `holon cluster drain` of this node, until it has left |
| `removenode` | `holon cluster forget` |
| `status`, `ring`, `info` | from `holon status` |
| `cleanup` | nothing: what moves away is taken by the move |
| `refreshsizeestimates` | nothing: they are computed when read |
"""

import collections
import shlex
import time

from ccmlib import common
from ccmlib.gaps import not_here

Answer = collections.namedtuple("Answer", "stdout stderr rc")
# Of `repair`: how it is done and what it costs. Holon compares all replicas of all ranges, which is what most ask for.
_REPAIR_FLAGS = {"-full", "--full", "-pr", "--partitioner-range", "-seq", "--sequential", "-par", "--parallel", "-inc"}
_LEAVE_LIMIT_S = 300
_OTHER_CHANGE_LIMIT_S = 60


def run(node, command):
    words = shlex.split(command)
    name, options = (words[0], words[1:]) if words else ("", [])
    does = _COMMANDS.get(name)
    if does is None:
        not_here(f"nodetool {name}")
    return Answer(does(node, options) or "", "", 0)


def _checked(node, *words):
    return _successful(node.holon(*words), words)


def _successful(answer, words):
    from ccmlib.node import ToolError  # that module imports this one

    if answer[0] != 0:
        raise ToolError("holon " + " ".join(words), answer[0], "", answer[1])
    return answer[1]


def _tables(verb, node, options):
    """`verb` of a keyspace and its tables, or of all."""
    flags = [word for word in options if word.startswith("-")]
    if flags:
        not_here(f"nodetool {verb} {flags[0]}")
    keyspace, tables = options[:1], options[1:]
    for table in [[each] for each in tables] or [[]]:
        _checked(node, "tables", verb, *keyspace, *table)


def _flush(node, options):
    _tables("flush", node, options)


def _compact(node, options):
    _tables("compact", node, options)


def _repair(node, options):
    _tables("repair", node, [word for word in options if word not in _REPAIR_FLAGS])


def _decommission(node, options):
    drain = ["cluster", "drain", node.address(), *(word for word in options if word == "--force")]
    deadline = time.monotonic() + _OTHER_CHANGE_LIMIT_S
    answer = node.holon(*drain)
    while "another change is on its way" in answer[1] and time.monotonic() < deadline:  # there is one at a time
        time.sleep(0.2)
        answer = node.holon(*drain)
    _successful(answer, drain)
    node.wait_end(_LEAVE_LIMIT_S)


def _removenode(node, options):
    if options[:1] == ["status"] or options[:1] == ["force"]:
        not_here(f"nodetool removenode {options[0]}")
    _checked(node, "cluster", "forget", options[-1])


def _status(node, _options):
    """In nodetool's form, a block for each data center."""
    letters = {"normal": "N", "coming": "J", "leaving": "L"}
    blocks = []
    members = sorted(node.members().values(), key=lambda member: (member["data_center"], member["address"]))
    for center in dict.fromkeys(member["data_center"] for member in members):
        lines = [f"Datacenter: {center}", "--  Address  Load  Tokens  Owns  Host ID  Rack"]
        for member in (each for each in members if each["data_center"] == center):
            mark = ("U" if member["state"] == "up" else "D") + letters.get(member["member"], "M")
            lines.append(f"{mark}  {member['address'].split(':')[0]}  {member['data_bytes'] or 0} bytes  "
                         f"{member['slots']}  {member['share']:.1%}  {member['id']}  {member['rack']}")
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def _info(node, _options):
    return f"ID                     : {node.hostid()}\n"


def _version(_node, _options):
    return f"ReleaseVersion: {common.CASSANDRA_VERSION}\n"


def _nothing(_node, _options):
    """See the table above."""


_COMMANDS = {
    "flush": _flush, "compact": _compact, "repair": _repair, "decommission": _decommission, "removenode": _removenode,
    "status": _status, "ring": _status, "info": _info, "version": _version, "cleanup": _nothing,
    "refreshsizeestimates": _nothing,
}
