# SPDX-License-Identifier: GPL-3.0-or-later
"""Trees as text in, choices out."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.project import (
    DJANGO_APPLICATION,
    DirectoryTree,
    TextTree,
    check_tree,
    decode,
    escaping_links,
    find_application,
    find_project_path,
    find_settings,
    import_paths,
    refuse_gitlinks,
    sets_settings_itself,
    setting_literal,
    settings_named_in,
)


def manage(module: str) -> str:
    return (
        f"import os\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', '{module}')\n"
        "from django.core.management import execute_from_command_line\n"
    )


def tree(*paths: str, **texts: str) -> TextTree:
    """Empty files, and files with text: `a__b=...` is a/b.py, '' when only the path counts."""
    named = {name.replace("__", "/") + ".py": text for name, text in texts.items()}
    return TextTree({**dict.fromkeys(paths, ""), **named})


# -- manage.py -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("paths", "wanted", "expected"),
    [
        (["manage.py"], None, "."),
        (["manage.py", "sub/manage.py"], None, "."),
        (["backend/manage.py", "README"], None, "backend"),
        (["a/b/manage.py"], None, "a/b"),
        (["src/manage.py", "node_modules/x/manage.py", ".tox/y/manage.py"], None, "src"),
        (["one/manage.py", "two/manage.py"], "two", "two"),
        (["one/manage.py", "two/manage.py"], "./two/", "two"),
        (["deep/er/than/manage.py"], "deep/er/than", "deep/er/than"),
    ],
)
def test_find_project_path(paths: list[str], wanted: str | None, expected: str) -> None:
    assert find_project_path(TextTree(dict.fromkeys(paths, "import django")), wanted).value == expected


@pytest.mark.parametrize(
    ("paths", "wanted", "says"),
    [
        ([], None, "no manage.py"),
        (["a/b/c/manage.py"], None, "no manage.py"),
        (["one/manage.py", "two/manage.py"], None, "one, two"),
        (["one/manage.py"], "two", "project_path"),
        (["manage.py"], "../elsewhere", "not a path inside"),
        (["manage.py"], "/etc", "not a path inside"),
    ],
)
def test_find_project_path_names_what_to_mend(paths: list[str], wanted: str | None, says: str) -> None:
    with pytest.raises(EngineError) as error:
        find_project_path(TextTree(dict.fromkeys(paths, "import django")), wanted)
    assert says in error.value.message
    assert "project_path" in error.value.hint


def test_a_manage_py_that_is_not_djangos_is_passed_over() -> None:
    found = find_project_path(TextTree({"flask/manage.py": "import flask", "web/manage.py": "import django"}))
    assert found.value == "web"


# -- settings --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('os.environ.setdefault("DJANGO_SETTINGS_MODULE", "x.settings.dev")', ["x.settings.dev"]),
        ("os.environ['DJANGO_SETTINGS_MODULE'] = 'x.settings'", ["x.settings"]),
        ("NAME = 'x.settings'\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', NAME)", ["x.settings"]),
        ("os.environ.setdefault('DJANGO_SETTINGS_MODULE', config('DJANGO_SETTINGS_MODULE', default='x.s'))", ["x.s"]),
        ("os.environ['DJANGO_SETTINGS_MODULE'] = os.getenv('DJANGO_SETTINGS_MODULE', 'x.s')", ["x.s"]),
        (
            "if 'test' in sys.argv:\n  os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'x.test')\n"
            "else:\n  os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'x.dev')",
            ["x.test", "x.dev"],
        ),
        ("os.environ.setdefault('DJANGO_SETTINGS_MODULE', f'x.settings.{NAME}')", []),
        ("print 'old'\nos.environ.setdefault(\n'DJANGO_SETTINGS_MODULE', 'x.settings')", ["x.settings"]),
        ("", []),
    ],
)
def test_settings_named_in(source: str, expected: list[str]) -> None:
    assert settings_named_in(source) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("os.environ['DJANGO_SETTINGS_MODULE'] = 'x.settings'", True),
        ("os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'x.settings')", False),
        ("os.environ['DJANGO_SETTINGS_MODULE'] = os.environ.get('DJANGO_SETTINGS_MODULE', 'x')", False),
        ("def", False),
    ],
)
def test_sets_settings_itself(source: str, expected: bool) -> None:
    assert sets_settings_itself(source) is expected


@pytest.mark.parametrize(
    ("files", "wanted", "expected"),
    [
        (tree("shop/settings.py", manage=manage("shop.settings")), None, "shop.settings"),
        (
            tree("s/settings/dev.py", "s/settings/production.py", manage=manage("s.settings.dev")),
            None,
            "s.settings.production",
        ),
        (tree("s/settings/local.py", "s/settings/prod.py", manage=manage("s.settings.local")), None, "s.settings.prod"),
        (tree("s/settings_dev.py", "s/settings_prod.py", manage=manage("s.settings_dev")), None, "s.settings_prod"),
        (tree("s/settings/dev.py", "s/settings/base.py", manage=manage("s.settings.dev")), None, "s.settings.dev"),
        # The module people develop with is often not committed.
        (tree("s/settings/production.py", manage=manage("s.settings.local")), None, "s.settings.production"),
        (
            tree("c/settings/local.py", "c/live.py", manage=manage("c.settings.local"), c__wsgi=manage("c.live")),
            None,
            "c.live",
        ),
        (tree("s/settings/__init__.py", manage=manage("s.settings")), None, "s.settings"),
        (tree(manage=manage("installed.settings")), None, "installed.settings"),
        (tree("shop/settings.py", manage="import django"), None, "shop.settings"),
        (tree("x/live.py", manage="import django", x__wsgi=manage("x.live")), None, "x.live"),
        (
            tree("s/settings/dev.py", "s/settings/production.py", manage=manage("s.settings.dev")),
            "s.settings.dev",
            None,
        ),
        (tree(manage=manage("x.y")), "installed.settings", "installed.settings"),
    ],
)
def test_find_settings(files: TextTree, wanted: str | None, expected: str | None) -> None:
    choice = find_settings(files, ".", wanted)
    assert choice.value == (expected or wanted)
    assert choice.reason


def test_find_settings_believes_wsgi_before_asgi() -> None:
    """asgi.py is often as startproject left it: it names what has become a package since."""
    settings = ("s/settings/__init__.py", "s/settings/dev.py", "s/settings/live.py")
    named = {"s/asgi.py": manage("s.settings"), "s/wsgi.py": manage("s.settings.live")}
    files = TextTree({**dict.fromkeys(settings, ""), **named, "manage.py": manage("s.settings.dev")})
    assert find_settings(files, ".").value == "s.settings.live"


def test_find_settings_below_the_top() -> None:
    files = TextTree({"src/manage.py": manage("shop.settings"), "src/shop/settings.py": ""})
    assert find_settings(files, "src").value == "shop.settings"


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        (tree("s/__init__.py", manage=manage("s.settings.local")), None),
        (tree("a/settings.py", "b/settings.py", manage="import django"), None),
        (tree("s/settings.py", manage=manage("s.settings")), "s.settngs"),
        (tree("s/settings.py", manage=manage("s.settings")), "s/settings.py"),
    ],
)
def test_find_settings_names_the_key(files: TextTree, wanted: str | None) -> None:
    with pytest.raises(EngineError) as error:
        find_settings(files, ".", wanted)
    assert "settings" in error.value.hint


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("sys.path.append(os.path.join(BASE_DIR, 'apps'))", ["apps"]),
        ("sys.path.append(str(current_path / 'shop' / 'apps'))", ["shop/apps"]),
        ("sys.path.insert(0, 'apps')", ["apps"]),
        ("APPS = 'apps'\nsys.path.insert(0, APPS)", ["apps"]),
        ("sys.path.append('/opt/elsewhere')\nsys.path.append(os.getcwd())", []),
    ],
)
def test_import_paths(source: str, expected: list[str]) -> None:
    assert import_paths(tree("apps/a.py", "shop/apps/b.py", manage=source), ".") == expected


# -- the application -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "settings", "wanted", "expected"),
    [
        (
            tree("s/wsgi.py", s__settings="WSGI_APPLICATION = 's.wsgi.application'"),
            "s.settings",
            None,
            "s.wsgi:application",
        ),
        (tree("s/wsgi.py", s__settings="WSGI_APPLICATION = 's.wsgi.app'"), "s.settings", None, "s.wsgi:app"),
        (
            tree(
                "s/wsgi.py",
                "s/settings/__init__.py",
                s__settings__base="WSGI_APPLICATION = 's.wsgi.application'",
                s__settings__production="from .base import *",
            ),
            "s.settings.production",
            None,
            "s.wsgi:application",
        ),
        (tree("config/wsgi.py", "config/settings/prod.py"), "config.settings.prod", None, "config.wsgi:application"),
        (tree("wsgi.py", "settings.py"), "settings", None, "wsgi:application"),
        (tree("web/wsgi.py", "conf/settings.py"), "conf.settings", None, "web.wsgi:application"),
        (tree("conf/settings.py"), "conf.settings", None, DJANGO_APPLICATION),
        # Such a wsgi.py would throw the release's settings out.
        (
            tree("s/settings.py", s__wsgi="import os\nos.environ['DJANGO_SETTINGS_MODULE'] = 's.settings'"),
            "s.settings",
            None,
            DJANGO_APPLICATION,
        ),
        (tree("s/wsgi.py"), "s.settings", "s.wsgi", "s.wsgi:application"),
        (tree("s/wsgi.py"), "s.settings", "s.wsgi.application", "s.wsgi:application"),
        (tree("s/wsgi.py"), "s.settings", "s.wsgi:app", "s.wsgi:app"),
        (tree("s/wsgi.py"), "s.settings", DJANGO_APPLICATION, DJANGO_APPLICATION),
    ],
)
def test_find_application(files: TextTree, settings: str, wanted: str | None, expected: str) -> None:
    assert find_application(files, ".", settings, wanted).value == expected


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        (tree("a/wsgi.py", "b/wsgi.py", "conf/settings.py"), None),
        (tree("s/wsgi.py"), "s.asgi:application"),
        (tree("s/wsgi.py"), "s wsgi"),
    ],
)
def test_find_application_names_the_key(files: TextTree, wanted: str | None) -> None:
    with pytest.raises(EngineError) as error:
        find_application(files, ".", "conf.settings", wanted)
    assert "application" in error.value.hint


@pytest.mark.parametrize(
    ("base", "own", "expected"),
    [
        ("A = 'base'", "from .base import *", "base"),
        ("A = 'base'", "from .base import *\nA = 'own'", "own"),
        ("A = 'base'", "from s.base import *", "base"),
        ("A = 'base'", "from .base import A", "base"),
        ("A = 'base'", "from .base import *\nA = None", None),
        ("A = 'base'", "from .base import *\nA = compute()", None),
        ("from .own import *", "from .base import *", None),
        ("A = 'base'", "def", None),
    ],
)
def test_setting_literal(base: str, own: str, expected: str | None) -> None:
    assert setting_literal(tree(s__base=base, s__own=own), ".", "s.own", "A") == expected


# -- trees that cannot go live ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("links", "leaving"),
    [
        ({"a": "b"}, []),
        ({"a/b": "../c"}, []),
        ({"a": "/etc/passwd"}, ["a"]),
        ({"a": ".."}, ["a"]),
        ({"a/b": "../../c"}, ["a/b"]),
        ({"a/b": "x/../../../c"}, ["a/b"]),
        # Through another link `..` means another directory.
        ({"p/q/r": "../..", "s": "p/q/r/../x"}, ["s"]),
        ({"d": "p/q", "s": "d/../x"}, []),
        ({"a": "b", "b": "a"}, ["a", "b"]),
    ],
)
def test_escaping_links(links: dict[str, str], leaving: list[str]) -> None:
    assert escaping_links(links.items()) == leaving


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (TextTree({".gitmodules": '[submodule "x"]'}), "submodules"),
        (
            TextTree(
                {".gitattributes": "*.png filter=lfs", "logo.png": "version https://git-lfs.github.com/spec/v1\n"}
            ),
            "logo.png",
        ),
        (TextTree({}, {"secrets": "/etc/shadow"}), "/etc/shadow"),
    ],
)
def test_check_tree_refuses(files: TextTree, says: str) -> None:
    with pytest.raises(EngineError, match=says) as error:
        check_tree(files)
    assert error.value.hint


def test_check_tree_passes_an_ordinary_tree() -> None:
    check_tree(TextTree({".gitmodules": "", "a.txt": "version https://git-lfs"}, {"b": "a.txt"}))


@pytest.mark.parametrize(
    ("paths", "says"),
    [(["lib"], "the files of lib are not part of a push"), (["a", "b c"], "the files of a, b c are not")],
)
def test_gitlinks_are_refused(paths: list[str], says: str) -> None:
    with pytest.raises(EngineError, match=says) as error:
        refuse_gitlinks(paths)
    assert f"git rm --cached {paths[0]}" in error.value.hint
    refuse_gitlinks([])


# -- a real directory ------------------------------------------------------------------------


def test_empty_folders_are_told(tmp_path: Path) -> None:
    """What git leaves where a tree names a commit of another repository."""
    for name in ("lib/inner", "docs", ".git"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "docs/index.md").touch()
    assert DirectoryTree(tmp_path).empty_folders == ["lib/inner"]


def test_directory_tree_stays_inside(tmp_path: Path) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_text("secret")
    root = tmp_path / "tree"
    (root / "sub").mkdir(parents=True)
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text("")
    (root / "sub" / "a.txt").write_bytes(b"\xef\xbb\xbfDjango\n\xff")
    (root / "inner").symlink_to("sub/a.txt")
    (root / "outer").symlink_to(outside)
    (root / "up").symlink_to("..")
    found = DirectoryTree(root)
    assert list(found.paths) == ["inner", "sub/a.txt"]
    assert found.links == {"inner": "sub/a.txt", "outer": str(outside), "up": ".."}
    assert found.read("inner", 9) == "Django"
    assert found.read("sub/a.txt").encode("utf-8", "surrogateescape") == b"Django\n\xff"
    for path in ("outer", "up/outside.txt", "../outside.txt"):
        with pytest.raises(EngineError):
            found.read(path)


def test_decode_reads_what_powershell_writes() -> None:
    assert decode("Django==5.2\r\n".encode("utf-16")) == "Django==5.2\r\n"
