# SPDX-License-Identifier: GPL-3.0-or-later
"""Uploads of a site whose processes and visitors mean harm: nginx shows nothing of others, nor what is guarded."""

from __future__ import annotations

import subprocess
from urllib.parse import quote

import pytest

PLANTING = """\
import os

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse, JsonResponse
from django.urls import path
from django.views.static import serve
from notes.urls import urlpatterns as pages

PLACES = {"media": settings.MEDIA_ROOT, "private": os.path.join(os.environ["HOME"], "private")}


def plant(request):
    name = os.path.join(PLACES[request.GET["place"]], request.GET["name"])
    if os.path.lexists(name):
        os.unlink(name)
    os.symlink(request.GET["target"], name)
    return HttpResponse("planted")


def hand(request, name):
    response = HttpResponse(headers={"X-Accel-Redirect": f"/protected/{name}"})
    del response["Content-Type"]
    if "says" in request.GET:
        response["Content-Disposition"] = request.GET["says"]
    return response


def headers(request):
    return JsonResponse({name: value for name, value in request.META.items() if isinstance(value, str)})


guarded = [path("media/<path:path>", login_required(serve), {"document_root": settings.MEDIA_ROOT})]
urlpatterns = [path("plant", plant), path("hand/<path:name>", hand), path("headers", headers), *pages]
"""
CANARY = "canary-of-the-customer"
#: What a host has that the uploader must not show: its own files first, then the customer's.
FILL = f"""
as() {{ runuser -u "$1" -- sh -c "umask 022; $2"; }}
install -d -o customer -g www-data -m 0750 /srv/customer/shared/private
as customer 'echo {CANARY} > /srv/customer/shared/media/upload.txt'
as customer 'echo {CANARY} > /srv/customer/shared/private/protected.txt'
as uploader 'echo of the uploader > /srv/uploader/shared/media/own.txt'
as uploader 'echo of the uploader > /srv/uploader/shared/private/own.txt'
as uploader 'mkdir -p /srv/uploader/shared/media/.git && echo hidden > /srv/uploader/shared/media/.git/config'
as uploader 'echo hidden > /srv/uploader/shared/media/.env'
as uploader 'mkdir -p /srv/uploader/shared/private/.git && echo hidden > /srv/uploader/shared/private/.git/config'
as uploader 'cd /srv/uploader/shared/private && touch page.html page.xhtml picture.svg picture.png'
"""
PASSWD = "root:x:0:0:"
LOG = "/var/log/nginx/djdeploy-customer.access.log"
#: What visitors could claim, by kinds; written here anew, not taken from what the role takes away.
CLAIMS = {
    "who they are, by a proxy that logs people in": """
        X-Authentik-Username X-Authentik-Email X-Authentik-Groups X-Vouch-User X-Token-Subject X-Auth-User
        X-Auth-Username X-User X-Username X-Email X-Remote-User X-Remote-Email X-Remote-Groups X-Forwarded-User
        X-Forwarded-Email X-Forwarded-Groups X-Forwarded-Preferred-Username X-Forwarded-Access-Token
        X-Auth-Request-User X-Auth-Request-Email X-Auth-Request-Groups X-Auth-Request-Preferred-Username
        X-Auth-Request-Access-Token Remote-User
        Tailscale-User-Login Tailscale-User-Name Tailscale-User-Profile-Pic Shib-Identity-Provider Shib-Session-ID Eppn
        X-Pomerium-Jwt-Assertion X-Pomerium-Claim-Email X-Webauth-User""",
    "who they are, by a cloud": """
        Cf-Access-Authenticated-User-Email X-Goog-Authenticated-User-Email X-Goog-Authenticated-User-Id
        X-Goog-Iap-Jwt-Assertion X-Ms-Client-Principal X-Ms-Client-Principal-Name X-Ms-Client-Principal-Id
        X-Ms-Client-Principal-Idp X-Ms-Token-Aad-Id-Token X-Ms-Token-Google-Access-Token X-Amzn-Oidc-Identity
        X-Amzn-Oidc-Data X-Amzn-Oidc-Accesstoken""",
    "who they are, by a certificate": """
        Ssl-Client-Verify Ssl-Client-S-Dn Ssl-Client-Cert X-Ssl-Client-Dn X-Ssl-Client-Verify X-Ssl-Client-Cert
        X-Client-Dn X-Client-Cert X-Client-Verify X-Forwarded-Client-Cert""",
    "how they came": """
        Https X-Https X-Forwarded-Https X-Forwarded-Scheme X-Forwarded-Proto X-Forwarded-Ssl X-Scheme X-Original-Proto
        X-Url-Scheme Front-End-Https CloudFront-Forwarded-Proto Forwarded X-Forwarded-Host X-Forwarded-Port
        X-Original-Url X-Rewrite-Url X-Forwarded-Prefix X-Script-Name Proxy""",
    "from where": """
        X-Forwarded-For X-Real-Ip X-Client-Ip CF-Connecting-IP True-Client-IP CloudFront-Viewer-Address Fastly-Client-Ip
        Fly-Client-Ip X-Azure-Clientip X-Azure-Socketip X-Cluster-Client-Ip Client-Ip X-Originating-Ip CF-IPCountry""",
}
#: Name of a link, where it leads, and the path below it that is asked for.
LINKS = [
    ("passwd", "/etc/passwd", ""),
    ("etc", "/etc", "/passwd"),
    ("upload.txt", "/srv/customer/shared/media/upload.txt", ""),
    ("uploads", "/srv/customer/shared/media", "/upload.txt"),
    ("protected.txt", "/srv/customer/shared/private/protected.txt", ""),
    ("protected", "/srv/customer/shared/private", "/protected.txt"),
    ("log", LOG, ""),
    ("by-way-of", "../../../customer/shared/media/upload.txt", ""),
    ("srv", "/srv", "/customer/shared/media/upload.txt"),
]
SWAPPING = """
import os, sys, time
name, aside, target = sys.argv[1:4]
end = time.monotonic() + float(sys.argv[4])
while time.monotonic() < end:
    for lead in (False, True):
        if os.path.lexists(aside):
            os.unlink(aside)
        if lead:
            os.symlink(target, aside)
        else:
            open(aside, "w").write("mine")
        os.rename(aside, name)
"""


@pytest.fixture(scope="module")
def uploader(site, web):
    """The hostile site with its project live, and all that it is after."""
    own = site("uploader")
    own.change("mysite/planting.py", PLANTING)
    own.change("mysite/settings.py", '\nROOT_URLCONF = "mysite.planting"\n', append=True)
    pushed = own.push()
    assert pushed.status == 0, pushed.output
    web.root(FILL)
    web.request("customer.test", f"/{CANARY}")  # now it stands in the log, too
    return own


@pytest.fixture
def planted(uploader):
    """A link laid by the web process of the site."""

    def at(place: str, name: str, target: str) -> None:
        answer = uploader.get(f"/plant?place={place}&name={quote(name)}&target={quote(target)}")
        assert (answer.status, answer.text) == (200, "planted")

    return at


@pytest.mark.parametrize("path", ["/etc/passwd", "/srv/customer/shared/private/protected.txt"])
def test_nginx_itself_may_read_what_links_lead_to(uploader, web, path):
    """Else the tests below would pass though nginx followed each of them."""
    told = web.root(f"runuser -u www-data -- cat {path}")
    assert CANARY in told or PASSWD in told


@pytest.mark.parametrize(("name", "target", "below"), LINKS)
def test_link_among_uploads_shows_nothing_of_others(uploader, planted, name, target, below):
    planted("media", name, target)
    answer = uploader.get(f"/media/{name}{below}")
    assert answer.status in (403, 404), answer.text
    assert CANARY not in answer.text and PASSWD not in answer.text


@pytest.mark.parametrize(("name", "target"), [(name, target) for name, target, below in LINKS if not below])
def test_link_among_protected_files_shows_nothing_of_others(uploader, planted, name, target):
    planted("private", name, target)
    answer = uploader.get(f"/hand/{name}")
    assert answer.status in (403, 404), answer.text
    assert CANARY not in answer.text and PASSWD not in answer.text


def test_the_uploads_themselves_and_links_to_them_are_served(uploader, planted):
    planted("media", "link.txt", "own.txt")
    planted("private", "link.txt", "own.txt")
    for path in ("/media/own.txt", "/media/link.txt", "/hand/own.txt", "/hand/link.txt"):
        answer = uploader.get(path)
        assert (answer.status, answer.text) == (200, "of the uploader\n"), path
    assert uploader.get("/protected/own.txt").status == 404


@pytest.mark.parametrize("path", ["/media/.env", "/media/.git/config", "/media/./.env", "/media/%2eenv"])
def test_names_that_begin_with_a_dot_are_not_served(uploader, path):
    answer = uploader.get(path)
    assert answer.status == 404
    assert "hidden" not in answer.text


@pytest.mark.parametrize(
    ("name", "saved"),
    [
        ("page.html", True),
        ("PAGE.HTM", True),
        ("picture.svg", True),
        ("data.xml", True),
        ("unknown", True),
        ("page.xhtml", False),  # the site says so
        ("picture.png", False),
        ("report.pdf", False),
        ("song.mp3", False),
        ("film.mp4", False),
        ("notes.txt", False),
    ],
)
def test_upload_that_could_run_in_the_sites_name_is_saved(uploader, name, saved):
    url = uploader.upload("/upload", name, b"<script>alert(document.cookie)</script>").text
    answer = uploader.get(url)
    assert (answer.status, answer.body) == (200, b"<script>alert(document.cookie)</script>"), url
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Disposition"] == ("attachment" if saved else None)
    assert ("sandbox" in (answer.headers["Content-Security-Policy"] or "")) is saved


@pytest.mark.parametrize(
    ("name", "saved"), [("page.html", True), ("picture.svg", True), ("page.xhtml", False), ("picture.png", False)]
)
def test_protected_file_is_treated_like_an_upload(uploader, name, saved):
    answer = uploader.get(f"/hand/{name}")
    assert answer.status == 200
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers.get_all("Content-Disposition") == (["attachment"] if saved else None)
    assert ("sandbox" in (answer.headers["Content-Security-Policy"] or "")) is saved


def test_the_application_says_how_a_protected_file_is_saved(uploader):
    for said in ("inline", "attachment; filename=own.html"):
        answer = uploader.get(f"/hand/page.html?says={quote(said)}")
        assert (answer.status, answer.headers.get_all("Content-Disposition")) == (200, [said])
        assert "sandbox" in answer.headers["Content-Security-Policy"]


def test_protected_name_that_begins_with_a_dot_is_not_handed_out(uploader):
    answer = uploader.get("/hand/.git/config")
    assert answer.status == 404
    assert "hidden" not in answer.text


@pytest.mark.parametrize("name", ["picture.png", "page.html"])
def test_what_has_not_changed_says_nothing_new(uploader, name):
    for path in (uploader.upload("/upload", name, b"x").text, f"/hand/{name}"):
        first = uploader.get(path)
        again = uploader.get(path, headers={"If-None-Match": first.headers["ETag"]})
        assert (again.status, again.body) == (304, b""), path
        assert again.headers["Content-Disposition"] is again.headers["Content-Security-Policy"] is None, path


@pytest.mark.parametrize("kind", CLAIMS)
def test_nobody_says_by_a_header(uploader, kind):
    claimed = dict.fromkeys(CLAIMS[kind].split(), "forged")
    told = uploader.get("/headers", headers={**claimed, "Remote_User": "forged", "X-Own": "passes"}).json()
    assert {name for name, value in told.items() if "forged" in value} == set()
    assert told["HTTP_X_OWN"] == "passes"
    assert told["HTTP_X_FORWARDED_PROTO"] == "http"
    assert "REMOTE_USER" not in told and "HTTP_REMOTE_USER" not in told


@pytest.mark.full
def test_link_that_is_swapped_while_nginx_looks_shows_nothing_of_others(uploader, web):
    """A link is judged by its own owner, and nobody can lay one that is the customer's."""
    place, seconds = "/srv/uploader/shared/media", 20
    words = ["runuser", "-u", "uploader", "--", "python3", "-", f"{place}/swapped.txt", f"{place}/aside"]
    words += ["/srv/customer/shared/private/protected.txt", str(seconds)]
    with subprocess.Popen(web.ssh_words(*words), stdin=subprocess.PIPE, text=True) as swapping:
        assert swapping.stdin
        swapping.stdin.write(SWAPPING)
        swapping.stdin.close()
        seen = []
        while swapping.poll() is None:
            seen.append(uploader.get("/media/swapped.txt"))
    assert swapping.returncode == 0
    assert len(seen) >= 200, "the race was run"
    assert {answer.status for answer in seen} >= {200, 404}, "both were met"
    assert not [answer for answer in seen if CANARY in answer.text]


@pytest.mark.full
def test_uploads_of_a_release_an_earlier_version_made_are_served_after_site_yml(uploader, web, playbooks):
    link = web.root("readlink -f /srv/uploader/current").strip() + "/uploads/media"
    web.root(f"chown -h root:root {link}")
    assert uploader.get("/media/own.txt").status == 404
    predicted = playbooks.run("site.yml", check=True)
    assert link in predicted.output, predicted.output
    play = playbooks.run("site.yml")
    assert play.status == 0, play.output
    assert uploader.get("/media/own.txt").status == 200
    assert web.root(f"stat -c %U {link}").strip() == "uploader"


def test_uploads_a_view_guards_are_not_served_by_nginx_after_the_next_push(uploader):
    assert uploader.get("/media/own.txt").status == 200
    uploader.change("mysite/planting.py", "\nurlpatterns = [*guarded, *urlpatterns]\n", append=True)
    pushed = uploader.push()
    assert pushed.status == 0, pushed.output
    said = "uploads: django.views.static.serve answers below /media/, so nginx leaves them to the application"
    assert said in pushed.output and "media: {served_by: nginx}" in pushed.output, pushed.output
    answer = uploader.get("/media/own.txt")
    assert (answer.status, answer.headers["Location"]) == (302, "/accounts/login/?next=/media/own.txt")
    assert "of the uploader" not in answer.text


@pytest.mark.full
@pytest.mark.parametrize(
    ("guard", "route"),
    [
        ('path("media/<path:path>/", login_required(serve), files)', "django.views.static.serve answers below /media/"),
        ('path("media/<int:pk>/original", login_required(plant))', "plant answers for media/<int:pk>/original"),
        ('re_path(r"^.*[m]edia/", login_required(plant))', "plant answers below /media/"),
    ],
)
def test_no_upload_is_published_whatever_the_pattern_of_its_guard(uploader, web, guard, route):
    web.root("install -D -o uploader -g www-data -m 0644 /dev/stdin /srv/uploader/shared/media/7/original <<< hidden")
    lines = [
        "from django.urls import re_path",
        'files = {"document_root": settings.MEDIA_ROOT}',
        f"urlpatterns = [{guard}, *pages]",
    ]
    uploader.change("mysite/planting.py", "\n".join(["", *lines, ""]), append=True)
    pushed = uploader.push()
    assert pushed.status == 0 and route in pushed.output, pushed.output
    answer = uploader.get("/media/7/original")
    assert answer.status in (301, 302, 404) and "hidden" not in answer.text
