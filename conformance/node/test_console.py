"""The console in a real browser: Chromium without a screen opens the page of a node of a cluster of real processes, and what it has
drawn is looked at in its document and in a picture of it.

The page needs nothing but the node: the browser gets no other address.
"""

import json
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request

import chromium
import holon_node
import pytest
from clusters import ALL, ONE, QUORUM, command, eventually, run, status, table


@pytest.fixture
def browser(tmp_path):
    return chromium.Browser(tmp_path)


def states(page):
    """Of each node by id, its state as each part of the page shows it: arcs, disc, table."""
    ring = page.all("svg", id="ring")[0]
    arcs, discs, rows = ring.all("path", cls="arc"), ring.all("g", cls="node"), page.all("tbody", id="nodes")[0].all("tr")
    seen = {}
    for part, elements in (("arc", arcs), ("disc", discs), ("row", rows)):
        for element in elements:
            seen.setdefault(element.attributes["data-node"], {}).setdefault(part, set()).add(element.attributes["data-state"])
    return seen


def status_json(node, query=""):
    with urllib.request.urlopen(f"http://{node.address}:{holon_node.CONSOLE_PORT}/status.json{query}", timeout=10) as answer:
        return answer.read()


def ids(three):
    return [json.loads(status_json(node))["node"] for node in three.nodes]


EVERYWHERE = {"arc", "disc", "row"}


@pytest.mark.browser
def test_the_ring_shows_its_nodes_and_a_node_that_falls(cluster, browser):
    three = cluster().form()
    session = table(three)
    for key in range(50):
        run(session, f"INSERT INTO k.t (k, v) VALUES ({key}, {key})")
    names = ids(three)
    page = browser.document(three.nodes[0])
    assert states(page) == {name: {part: {"up"} for part in EVERYWHERE} for name in names}
    ring = page.all("svg", id="ring")[0]
    assert ring.attributes["aria-label"].startswith("The ring: 3 nodes, 3 up; 64 slots"), ring.attributes
    arcs = ring.all("path", cls="arc")
    assert 3 <= len(arcs) <= 64 and all(arc.attributes["d"].startswith("M") for arc in arcs)
    fills = {node: {arc.attributes["style"] for arc in arcs if arc.attributes["data-node"] == node} for node in names}
    assert len(set.union(*fills.values())) == 3, f"three nodes have three colours: {fills}"
    rows = page.all("tbody", id="nodes")[0].all("tr")
    for node in three.nodes:
        assert any(node.address in row.text() for row in rows), node.address
    assert "k." in page.all("tbody", id="holdings")[0].text()
    before = browser.picture(three.nodes[0], "before.png")
    counts = chromium.colours(before)
    assert len(before) > 20_000 and len(counts) > 50 and max(counts.values()) < .9 * sum(counts.values()), len(before)

    # One is killed: another node's page says so, greys its arcs, and the others stay as they were.
    three.nodes[2].kill()
    deadline = time.monotonic() + 60
    while states(page := browser.document(three.nodes[0], seconds=2)).get(names[2]) != {part: {"down"} for part in EVERYWHERE}:
        assert time.monotonic() < deadline, f"never drawn as down: {states(page)}"
    seen = states(page)
    assert all(seen[name] == {part: {"up"} for part in EVERYWHERE} for name in names[:2]), seen
    ring = page.all("svg", id="ring")[0]
    fallen = {arc.attributes["style"] for arc in ring.all("path", cls="arc") if arc.attributes["data-node"] == names[2]}
    assert fallen == {"fill:url(#hatch)"} and ring.all("pattern", id="hatch"), fallen
    after = chromium.colours(browser.picture(three.nodes[0], "after.png"))
    own = {colour for colour, n in counts.items() if n > 400 and after.get(colour, 0) < n / 4}
    assert own, "a colour that was there, its arcs', is gone from the picture"
    run(session, "INSERT INTO k.t (k, v) VALUES (1, 1)")


@pytest.mark.browser
def test_a_node_alone_has_a_ring_of_its_own(node, browser):
    page = browser.document(node)
    ring = page.all("svg", id="ring")[0]
    own = json.loads(status_json(node))["node"]
    assert states(page) == {own: {part: {"up"} for part in EVERYWHERE}}
    assert "one node" in ring.text() and not ring.all("g", cls="chord")
    assert ring.attributes["aria-label"].startswith("The ring: 1 node, 1 up; 32 slots"), ring.attributes


def fill_table(three, rows=4000):
    """So many rows that a copy can be watched, of 500 bytes each."""
    session = three.session(three.nodes[0])
    run(session, "CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 2}")
    run(session, "CREATE TABLE k.t (k int PRIMARY KEY, v text)")
    prepared = session.prepare("INSERT INTO k.t (k, v) VALUES (?, ?)")
    prepared.consistency_level = ALL
    for start in range(0, rows, 100):
        waiting = [session.execute_async(prepared, (key, "x" * 500)) for key in range(start, start + 100)]
        [each.result() for each in waiting]
    return session


@pytest.mark.browser
def test_a_change_that_waits_says_for_whom(cluster, browser):
    three = cluster().form()
    fill_table(three, rows=100)
    first, leaving, down = three.nodes
    down.kill()
    down.wait_end()
    eventually("the loss is known", lambda: " down " in status(first))
    code, text = command(first, "cluster", "drain", leaving.address, "--force")
    assert code == 0, text
    eventually("it waits", lambda: json.loads(status_json(first))["cluster"]["change"]["waits"])
    shown = browser.document(first, seconds=1).all("div", id="change")[0].text()
    assert re.search(rf"waits for .*{re.escape(down.address)}.*, which is down for \d+ s: \d+ tablets", shown), shown


@pytest.mark.browser
def test_a_join_is_seen_in_progress_by_all_who_look(cluster, browser):
    """The joiner is halted while the browser looks, or it would be through before."""
    three = cluster().form(2)
    fill_table(three)
    watch = subprocess.Popen([holon_node.binary(), "status", "--watch", "--data-dir", str(three.nodes[0].data_dir)],
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True)
    try:
        looks, page = [], None
        three.add(wait=False)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            seen = json.loads(status_json(three.nodes[0]))["cluster"]
            looks.append(seen)
            if seen["change"] and seen["moves"] and page is None:
                joiner = three.nodes[2]
                joiner.process.send_signal(signal.SIGSTOP)
                page = browser.document(three.nodes[0], seconds=1)
                joiner.process.send_signal(signal.SIGCONT)
            normal = [node["member"] for node in seen["nodes"]].count("normal")
            if normal == 3 and not seen["change"] and any(look["change"] for look in looks):
                break
            time.sleep(.05)
        else:
            raise AssertionError(f"the third never joined: {looks[-1]}")
        changes = [look["change"] for look in looks if look["change"]]
        assert {change["kind"] for change in changes} <= {"join", "split"}, changes
        joins = [change for change in changes if change["kind"] == "join"]
        assert joins and [change["done"] for change in joins] == sorted(change["done"] for change in joins)
        assert all(change["done"] + change["moving"] + change["waiting"] >= change["tablets"] > 0 for change in joins), joins
        copied = [change["copied"]["rows"] for change in joins]
        assert 0 < max(copied) <= 2 * 4000, copied
        moves = [move for look in looks for move in look["moves"]]
        assert {move["table"] for move in moves} == {"k.t"}, moves
        assert any(move["whole"] and move["whole"]["rows"] > 0 for move in moves), moves
        coming = ids(three)[2]
        chords = page.all("svg", id="ring")[0].all("g", cls="chord")
        assert chords and {chord.attributes["data-to"] for chord in chords} == {coming}, [c.attributes for c in chords]
        assert {chord.attributes["data-from"] for chord in chords} <= set(ids(three)[:2])
        assert re.search(r"join of .* : \d+ of \d+ tablets done", page.all("div", id="change")[0].text())
        assert page.all("div", id="change")[0].all("div", role="progressbar")
        time.sleep(2.5)  # for the watch, which looks each second
    finally:
        watch.terminate()
        said, _ = watch.communicate(timeout=10)
    assert re.search(r"^change +join [0-9a-f]{8}: \d+ of \d+ tablets done", said, re.M), said
    assert re.search(r"[█░]{30} +\d+ %  [\d,]+ rows", said), said
    assert said.count("up, normal") >= 3, said


def test_watch_ends_with_its_node_and_writes_json_lines(node):
    words = [holon_node.binary(), "status", "--watch", "--format", "json", "--data-dir", str(node.data_dir)]
    watch = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    first, second = json.loads(watch.stdout.readline()), json.loads(watch.stdout.readline())
    assert second["uptime_seconds"] - first["uptime_seconds"] > .5
    assert first["cluster"]["nodes"][first["cluster"]["me"]]["id"] == first["node"]
    node.kill()
    _, complaint = watch.communicate(timeout=10)
    assert watch.returncode == 1 and "no node runs" in complaint, (watch.returncode, complaint)


def test_the_status_stays_small_and_tells_tablets_when_asked(cluster):
    three = cluster().form()
    session = table(three)
    run(session, "CREATE TABLE k.u (k int PRIMARY KEY)")
    small = len(status_json(three.nodes[0]))
    for number in range(3):
        run(session, f"CREATE TABLE k.many{number} (k int PRIMARY KEY)")
    told = status_json(three.nodes[0])
    seen = json.loads(told)["cluster"]
    assert seen["tablets_total"] >= 5 * 64, seen["tablets_total"]
    assert len(seen["ring"]["owners"]["datacenter1"]) == seen["ring"]["slots"] == 64
    assert sum(node["slots"] for node in seen["nodes"]) == 64 and all(node["tablets"] > 0 for node in seen["nodes"])
    # 192 tablets more, and what grew is what is told of a table.
    assert len(told) - small < 3 * 3000, (small, len(told))
    tablets = json.loads(status_json(three.nodes[0], "?tablets=k.u"))["tablets"]
    assert [tablet["tablet"] for tablet in tablets] == list(range(64))
    assert all(len(set(tablet["replica_ids"])) == 3 and tablet["phase"] == "settled" for tablet in tablets), tablets[0]
    assert tablets[-1]["end_token"] == str(2 ** 63 - 1)
    assert len(json.loads(status_json(three.nodes[0], "?tablets=k.u&from=60"))["tablets"]) == 4
    with pytest.raises(urllib.error.HTTPError) as missing:
        status_json(three.nodes[0], "?tablets=k.none")
    assert missing.value.code == 404


def test_each_node_tells_the_load_of_all(cluster):
    three = cluster().form()
    session = table(three)

    def requests(look):
        return {node["id"]: node["requests_total"] for node in look["cluster"]["nodes"]}

    first = ids(three)[0]
    before = requests(json.loads(status_json(three.nodes[1])))
    for key in range(300):
        run(session, f"INSERT INTO k.t (k, v) VALUES ({key}, {key})", QUORUM)
    time.sleep(.5)
    after = requests(json.loads(status_json(three.nodes[1])))
    grown = {name: after[name] - before[name] for name in after}
    assert 300 <= grown[first] < 320 and all(grown[name] < 20 for name in after if name != first), grown
    assert run(session, "SELECT count(*) FROM k.t", ONE).one().count == 300
    assert "requests/s" in status(three.nodes[2]) and command(three.nodes[2], "status", "--format", "json")[0] == 0
