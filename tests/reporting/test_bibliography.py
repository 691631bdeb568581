"""Reading and writing the BibTeX that methods and data sets carry."""

import re
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agiqa_bench.registry import dataset_registry, method_registry
from agiqa_bench.reporting.bibliography import CitationError, Entry, entries, references

# Baselines of this project, and methods that stand for somebody else's program.
WITHOUT_CITATION = {
    "clip_probe",
    "cnn",
    "external",
    "external_trained",
    "generator_mean",
    "generator_prompt",
    "prompt_text",
}

ARTICLE = """@article{mittal2013niqe,
  title = {Making a ``Completely Blind'' Image {Quality}
           Analyzer},
  author = "Mittal, Anish and {\\"O}zt{\\"u}rk, A.",
  year = 2013, month = mar,
  note = {},
}"""


def test_an_entry_is_read_with_its_values_in_one_line():
    (entry,) = entries(f"A comment.\n{ARTICLE}\nAnother.")
    assert entry.kind == "article"
    assert entry.key == "mittal2013niqe"
    assert dict(entry.fields) == {
        "title": "{Making a ``Completely Blind'' Image {Quality} Analyzer}",
        "author": '{Mittal, Anish and {\\"O}zt{\\"u}rk, A.}',
        "year": "2013",
        "month": "mar",
        "note": "{}",
    }
    assert entries(str(entry)) == [entry]


def test_several_entries_of_one_text():
    assert [entry.key for entry in entries('@misc{a, x={1}}@book{b, x={2}}\n@misc{c,x="3"}')] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("@article{, title = {x}}", "does not begin with a kind and a key"),
        ("@article{a b, title = {x}}", "entry a: no field"),
        ("@article{a, title = {x}", "entry a: no field"),
        ("@article{a, title = {x}, title = {y}}", "'title' is there twice"),
        ("@article{a, title = {x {y}", "has no end"),
        ('@article{a, title = "x } y"}', "has no end"),
        ("@article{a, title = {x} # {y}}", "no field"),
        ("@article{a, journal = tip}", "unlike 'tip}'"),
        ("@article{a}", "has no field"),
        ('@string{tip = "IEEE TIP"}', "@string"),
    ],
)
def test_what_is_not_well_formed_is_refused_in_one_line(text, said):
    with pytest.raises(CitationError, match=re.escape(said)) as caught:
        entries(text)
    assert "\n" not in str(caught.value)


def test_references_hold_each_entry_once_by_key():
    text = references(["@misc{b, x = {1}}", "", "  ", "@misc{a, y = {2}}", "@MISC{b,\n x = {1} }"])
    assert text == "@misc{a,\n  y = {2}\n}\n\n@misc{b,\n  x = {1}\n}\n"
    assert references(["", " "]) == ""


def test_different_entries_of_one_key_are_both_kept_whatever_the_order():
    first, second, third = "@misc{a, x = {1}}", "@misc{A, x = {2}}", "@misc{a-2, x = {3}}"
    text = references([first, second, third])
    assert text == references([third, second, first])
    found = entries(text)
    assert sorted(entry.fields for entry in found) == [(("x", f"{{{n}}}"),) for n in (1, 2, 3)]
    assert len({entry.key.casefold() for entry in found}) == 3
    assert Entry("misc", "a-2", (("x", "{3}"),)) in found


def test_what_is_not_bibtex_is_kept_as_a_comment_that_holds_no_entry():
    text = references(["Somebody et al., mail@example.org", "A paper, 2020", "@misc{a, x = {1}}", "@misc{b"])
    assert [entry.key for entry in entries(text)] == ["a"]
    comments = [line for line in text.splitlines() if line.startswith("% ")]
    assert comments[0] == "% BibTeX entry b: no field, as name = {value}, at '': (at)misc{b"
    assert any("mail(at)example.org" in line for line in comments)
    assert "% no BibTeX entry: A paper, 2020" in comments


values = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters='{}"@')).map(
    lambda text: f"{{{text}}}"
)
keys = st.from_regex(r"[A-Za-z][A-Za-z0-9:_-]{0,8}", fullmatch=True)
names = st.from_regex(r"[a-z]{1,8}", fullmatch=True)


@settings(deadline=None)
@given(
    st.lists(
        st.builds(
            Entry,
            st.just("misc"),
            keys,
            st.dictionaries(names, values, min_size=1).map(lambda fields: tuple(fields.items())),
        )
    )
)
def test_references_read_back(made):
    text = references(map(str, made))
    assert references([text]) == text
    assert {frozenset(entry.fields) for entry in entries(text)} == {frozenset(entry.fields) for entry in made}


@pytest.mark.parametrize(
    ("registry", "name"),
    [
        pytest.param(registry, name, id=f"{registry.kind}-{name}")
        for registry in (method_registry(), dataset_registry())
        for name in registry.names()
    ],
)
def test_every_method_and_data_set_says_what_to_cite(registry, name):
    citation = registry.load(name).citation
    if name in WITHOUT_CITATION:
        assert citation == ""
        return
    found = entries(citation)
    assert found
    for entry in found:
        assert {"title", "author", "year"} <= dict(entry.fields).keys()
        assert re.fullmatch(r"\{?(19|20)\d\d\}?", dict(entry.fields)["year"])


@pytest.mark.skipif(shutil.which("bibtex") is None, reason="for want of BibTeX: install TeX Live")
def test_bibtex_takes_all_references(tmp_path):
    registries = (method_registry(), dataset_registry())
    text = references(registry.load(name).citation for registry in registries for name in registry.names())
    (tmp_path / "all.bib").write_text(text, encoding="utf-8")
    (tmp_path / "all.aux").write_text("\\citation{*}\n\\bibstyle{plain}\n\\bibdata{all}\n", encoding="utf-8")
    done = subprocess.run(["bibtex", "all"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "error" not in done.stdout.lower()
    listed = re.findall(r"\\bibitem\{(.*?)\}", (tmp_path / "all.bbl").read_text(encoding="utf-8"))
    assert sorted(listed) == sorted(entry.key for entry in entries(text))
