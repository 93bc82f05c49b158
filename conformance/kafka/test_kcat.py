"""kcat (librdkafka) with its defaults: what goes in comes out."""

import shutil
import subprocess

import pytest

LIMIT_S = 30
LINES = [f"line {number} {'x' * (number % 200)}" for number in range(3000)]


def kcat(bootstrap, *arguments, text=None):
    program = shutil.which("kcat")
    assert program, "kcat is not installed: Debian's package kcat has it"
    done = subprocess.run([program, "-b", bootstrap, *arguments], input=text, capture_output=True, text=True,
                          timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def consumed(bootstrap, topic, *arguments):
    return kcat(bootstrap, "-C", "-t", topic, "-e", "-q", *arguments).splitlines()


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_what_goes_in_comes_out(bootstrap, topic, codec):
    kcat(bootstrap, "-P", "-t", topic, "-z", codec, text="\n".join(LINES))
    assert consumed(bootstrap, topic) == LINES


@pytest.mark.parametrize("acks", ["0", "1", "all"])
def test_each_kind_of_acknowledgement(bootstrap, topic, acks):
    kcat(bootstrap, "-P", "-t", topic, "-X", f"acks={acks}", text="\n".join(LINES[:500]))
    assert consumed(bootstrap, topic) == LINES[:500]


def test_an_idempotent_producer(bootstrap, topic):
    kcat(bootstrap, "-P", "-t", topic, "-X", "enable.idempotence=true", text="\n".join(LINES))
    assert consumed(bootstrap, topic) == LINES


def test_from_within_and_from_the_end(bootstrap, topic):
    kcat(bootstrap, "-P", "-t", topic, text="\n".join(LINES))
    assert consumed(bootstrap, topic, "-o", "2990") == LINES[2990:]
    assert consumed(bootstrap, topic, "-o", "-5") == LINES[-5:]
    assert consumed(bootstrap, topic, "-o", "end") == []


def test_keys_headers_and_timestamps(bootstrap, topic):
    kcat(bootstrap, "-P", "-t", topic, "-K", ":", "-H", "a=b", text="one:1\ntwo:2")
    shown = consumed(bootstrap, topic, "-f", "%k %s %h %T\n")
    assert [line.rsplit(" ", 1)[0] for line in shown] == ["one 1 a=b", "two 2 a=b"]
    assert all(int(line.rsplit(" ", 1)[1]) > 1_700_000_000_000 for line in shown)


def test_the_metadata_names_the_broker(bootstrap, topic):
    kcat(bootstrap, "-P", "-t", topic, text="x")
    shown = kcat(bootstrap, "-L", "-t", topic)
    assert bootstrap in shown and f'topic "{topic}" with 1 partitions' in shown
