import datetime
import subprocess
from pathlib import Path

import pytest

from pipeline import __version__, provenance
from pipeline.provenance import BUILT_FROM, code_commit


@pytest.fixture(autouse=True)
def _no_commit_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(BUILT_FROM, raising=False)


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with the package in it, as the code sees it."""
    package = tmp_path / "repository" / "pipeline"
    package.mkdir(parents=True)
    (package / "provenance.py").write_text("# the code\n")
    git(package, "init", "--quiet")
    git(package, "add", "provenance.py")
    git(package, "commit", "--quiet", "--message", "Begin")
    monkeypatch.setattr(provenance, "__file__", str(package / "provenance.py"))
    return package


def test_a_clean_checkout_gives_its_commit(checkout: Path) -> None:
    commit = code_commit()
    assert commit is not None
    assert len(commit) == 40
    assert commit == git(checkout, "rev-parse", "HEAD")


def test_a_changed_file_is_marked(checkout: Path) -> None:
    (checkout / "provenance.py").write_text("# other code\n")
    assert code_commit() == git(checkout, "rev-parse", "HEAD") + "+changes"


def test_a_file_that_git_does_not_follow_is_no_change(checkout: Path) -> None:
    (checkout / "notes.txt").write_text("mine")
    assert code_commit() == git(checkout, "rev-parse", "HEAD")


def test_a_package_installed_inside_another_repository_has_no_commit(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = checkout / "site-packages" / "provenance.py"
    installed.parent.mkdir()
    installed.write_text("# the code\n")
    monkeypatch.setattr(provenance, "__file__", str(installed))
    assert code_commit() is None


def test_outside_a_checkout_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    assert code_commit() is None


@pytest.mark.usefixtures("checkout")
def test_without_git_there_is_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert code_commit() is None


@pytest.mark.parametrize(
    ("said", "commit"), [("0123abc", "0123abc"), ("0123abc+changes\n", "0123abc+changes"), ("", None), (" ", None)]
)
def test_an_installed_package_has_the_commit_that_its_image_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, commit: str | None
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    monkeypatch.setenv(BUILT_FROM, said)
    assert code_commit() == commit


@pytest.mark.usefixtures("checkout")
def test_without_git_the_commit_is_the_one_that_the_image_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv(BUILT_FROM, "0123abc")
    assert code_commit() == "0123abc"


def test_a_checkout_knows_its_commit_better_than_the_environment(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(BUILT_FROM, "0123abc")
    assert code_commit() == git(checkout, "rev-parse", "HEAD")


def test_results_say_which_code_made_them_and_when_in_utc() -> None:
    made = provenance.made_by()
    assert (made["medseg"], made["commit"]) == (__version__, provenance.code_commit())
    created = datetime.datetime.fromisoformat(str(made["created"]))
    assert abs(datetime.datetime.now(datetime.UTC) - created) < datetime.timedelta(minutes=1)
