"""Second names of files: no copy, whole or absent, and a copy where the disk cannot link."""

import os

import pytest

from workflow_scripts.storage.hard_links import copy_whole, link_file


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "working" / "a"
    path.parent.mkdir()
    path.write_text("new")
    return path


def test_a_link_is_the_same_file_in_place_of_an_older_one(source, tmp_path):
    target = tmp_path / "final" / "a"
    for content in (None, "old"):
        if content is not None:
            target.unlink()
            target.write_text(content)
        link_file(source, target)
        assert target.samefile(source)
    link_file(source, target)  # again: nothing is left beside it
    assert [path.name for path in target.parent.iterdir()] == ["a"]


def test_a_copy_where_the_disk_has_no_links(source, tmp_path, monkeypatch):
    def refuse(*names):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    link_file(source, tmp_path / "final" / "a")
    assert (tmp_path / "final" / "a").read_text() == "new"
    assert not (tmp_path / "final" / "a").samefile(source)


def test_a_copy_does_not_change_with_its_source(source, tmp_path):
    copy_whole(source, tmp_path / "a")
    source.write_text("newer")
    assert (tmp_path / "a").read_text() == "new"
