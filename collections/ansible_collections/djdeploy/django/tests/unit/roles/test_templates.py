# SPDX-License-Identifier: GPL-3.0-or-later
"""What the rendered files mean, not how they look."""

from __future__ import annotations

import ast
import re
import subprocess
from configparser import RawConfigParser
from pathlib import Path
from typing import Any
from unittest.mock import mock_open

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import admission, door, sandbox
from ansible_collections.djdeploy.django.plugins.module_utils.engine.paths import SitePaths

from .conftest import ROLES, Render, defaults

TEMPLATES = sorted(f"{path.parts[-3]}/{path.name}" for path in ROLES.glob("*/templates/*.j2"))
VERBATIM = {
    "nginx/maintenance.html.j2",
    "nginx/unavailable.html.j2",
    "nginx/waiting.html.j2",
}  # sent to visitors as they are


def shop(**keys: Any) -> dict[str, Any]:
    return {"shop": {"domains": ["shop.example.com", "www.shop.example.com"], **keys}}


def unit(text: str) -> dict[str, dict[str, list[str]]]:
    """A systemd unit: section -> name -> values."""
    sections: dict[str, dict[str, list[str]]] = {}
    section: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("["):
            section = sections.setdefault(line.strip("[]"), {})
        elif "=" in line and not line.startswith("#"):
            name, value = line.split("=", 1)
            section.setdefault(name, []).append(value)
    return sections


def settings(text: str) -> dict[str, Any]:
    """What a gunicorn configuration sets; it must be Python."""
    namespace: dict[str, Any] = {"open": mock_open()}
    exec(compile(ast.parse(text), "gunicorn.py", "exec"), namespace)
    return namespace


@pytest.mark.parametrize("template", [name for name in TEMPLATES if name not in VERBATIM])
def test_says_first_that_it_is_managed(template: str) -> None:
    lines = (ROLES / template.replace("/", "/templates/", 1)).read_text().splitlines()
    first = lines[1] if lines[0].startswith("#!") else lines[0]
    if template == "site/site.json.j2":
        return  # JSON has no comments
    assert first == "{{ ansible_managed | comment }}"


# --- gunicorn -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("web", "cores", "workers", "reason"),
    [
        pytest.param({}, 1, 2, "1 CPU cores", id="one core"),
        pytest.param({}, 2, 3, "2 CPU cores", id="two cores"),
        pytest.param({}, 64, 8, "at most 8", id="a large host"),
        pytest.param({"workers": 12}, 2, 12, "web.workers of the site", id="as said"),
    ],
)
def test_gunicorn_workers(render: Render, web: dict[str, Any], cores: int, workers: int, reason: str) -> None:
    text = render("gunicorn/gunicorn.py.j2", shop(web=web), gunicorn_cores=cores)
    assert settings(text)["workers"] == workers
    assert reason in text


def test_gunicorn_defaults(render: Render) -> None:
    found = settings(render("gunicorn/gunicorn.py.j2"))
    expected = {
        "worker_class": "gthread",
        "threads": 4,
        "timeout": 30,
        "keepalive": 0,
        "worker_tmp_dir": "/dev/shm",
        "accesslog": None,
        "errorlog": "-",
        "control_socket_disable": True,
        "preload_app": False,
    }
    assert {name: found[name] for name in expected} == expected
    assert "bind" not in found, "the socket comes from systemd"
    assert "max_requests" not in found
    assert "post_fork" not in found


def test_gunicorn_renews_workers_at_different_times(render: Render) -> None:
    found = settings(render("gunicorn/gunicorn.py.j2", shop(web={"max_requests": 5})))
    assert (found["max_requests"], found["max_requests_jitter"]) == (5, 1)


def test_gunicorn_preload_does_not_share_connections(render: Render) -> None:
    found = settings(render("gunicorn/gunicorn.py.j2", shop(web={"preload": True})))
    assert found["preload_app"] is True
    assert callable(found["post_fork"])


@pytest.mark.parametrize(
    ("release", "says", "ran", "score"),
    [
        pytest.param("20260301T120000-aaaaaaa", True, "as it says", "0", id="live"),
        pytest.param("20260302T120000-bbbbbbb", True, "as it says", "500", id="new"),
        pytest.param("20260301T120000-aaaaaaa", False, "gunicorn -c settings.py shop.wsgi", "0", id="made before"),
    ],
)
def test_serve_starts_what_the_release_says(
    render: Render, tmp_path: Path, release: str, says: bool, ran: str, score: str
) -> None:
    """And marks one that is not live for the kernel, which may have to end a process."""
    (tmp_path / "current").symlink_to("releases/20260301T120000-aaaaaaa")
    programs = {".venv/bin/gunicorn": 'echo "gunicorn $@"', **({"serve": "echo as it says"} if says else {})}
    for name, does in programs.items():
        program = tmp_path / "releases" / release / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(f"#!/bin/sh\n{does}\n")
        program.chmod(0o755)
    marks = tmp_path / "score"
    marks.write_text("0")
    text = render("gunicorn/serve.sh.j2").replace("/proc/self/oom_score_adj", str(marks))
    words = ["/bin/sh", "-c", text, "serve", str(tmp_path), release, "settings.py"]
    done = subprocess.run(words, env={"DJDEPLOY_APPLICATION": "shop.wsgi"}, capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), marks.read_text().strip(), done.stderr) == (ran, score, "")


def test_release_service(render: Render) -> None:
    found = unit(render("gunicorn/release.service.j2", shop(web={"graceful_timeout": 90})))
    service = found["Service"]
    assert service["User"] == service["Group"] == ["shop"]
    assert service["EnvironmentFile"] == ["/etc/djdeploy/sites/shop.env", "/srv/shop/releases/%i/release.env"]
    assert service["ExecStart"] == ["/usr/local/lib/djdeploy/serve /srv/shop %i /etc/djdeploy/sites/shop.gunicorn.py"]
    assert int(service["TimeoutStopSec"][0]) > 90
    assert service["KillMode"] == ["mixed"]
    assert service["ProtectSystem"] == ["strict"]
    assert service["ReadWritePaths"] == ["/srv/shop/shared"]
    assert service["NoNewPrivileges"] == ["yes"]
    assert "MemoryMax" not in service
    assert "Install" not in found, "only the boot unit starts at boot"


def test_release_service_with_a_limit_of_memory(render: Render) -> None:
    found = unit(render("gunicorn/release.service.j2", shop(web={"memory_max": "512M"})))
    assert found["Service"]["MemoryMax"] == ["512M"]


def test_release_socket(render: Render) -> None:
    found = unit(render("gunicorn/release.socket.j2"))
    socket = found["Socket"]
    assert socket["ListenStream"] == ["/run/djdeploy/shop/%i.sock"]
    assert (socket["SocketGroup"], socket["SocketMode"]) == (["www-data"], ["0660"])
    assert "Install" not in found


def test_boot_unit_starts_what_current_points_at(render: Render) -> None:
    found = unit(render("gunicorn/boot.service.j2"))
    assert found["Service"]["ExecStart"] == ["/usr/local/bin/djdeploy boot shop"]
    assert found["Unit"]["ConditionPathExists"] == ["/srv/shop/current"]
    assert "postgresql.service" in found["Unit"]["After"][0]
    assert found["Install"]["WantedBy"] == ["multi-user.target"]


# --- nginx ----------------------------------------------------------------------------------------


def directives(text: str, name: str) -> list[str]:
    """The values of all directives of a name, in order."""
    return [" ".join(value.split()) for value in re.findall(rf"^\s*{name}\s+([^;{{]+);", text, re.M)]


def test_site_server(render: Render) -> None:
    text = render("nginx/site.conf.j2", shop(client_max_body_size="1g"))
    assert directives(text, "server_name") == ["shop.example.com www.shop.example.com"]
    assert directives(text, "server")[0].startswith("unix:/srv/shop/current/.sock")
    assert directives(text, "client_max_body_size") == ["1g"]
    assert directives(text, "try_files")[0] == "/current/public$uri /static-kept$uri @uploads"
    assert directives(text, "try_files")[1] == "/current/$djdeploy_uploads$uri @application"
    assert set(directives(text, "proxy_next_upstream")) == {"off"}
    assert directives(text, "access_log") == ["/var/log/nginx/djdeploy-shop.access.log djdeploy"]
    assert directives(text, "error_log") == ["/var/log/nginx/djdeploy-shop.error.log"]
    assert directives(text, "keepalive") == []
    assert directives(text, "proxy_intercept_errors") == [], "pages of the application are the application's"
    assert text.count("{") == text.count("}")


SET_BY_NGINX = {
    "Host": "$djdeploy_host",
    "X-Real-IP": "$remote_addr",
    "X-Forwarded-For": "$remote_addr",
    "X-Forwarded-Proto": "$scheme",
    "X-Request-ID": "$request_id",
    "Upgrade": "$djdeploy_upgrade",
    "Connection": "$djdeploy_connection",
}


#: What a visitor could claim, by kinds; written anew, not taken from the table of the role.
CLAIMS = {
    "logged in by oauth2-proxy": """
        x-auth-request-user x-auth-request-email x-auth-request-groups x-auth-request-preferred-username
        x-auth-request-access-token x-forwarded-user x-forwarded-email x-forwarded-groups
        x-forwarded-preferred-username x-forwarded-access-token""",
    "by another proxy": """
        remote-user remote-email remote-groups remote-name x-remote-user x-remote-email x-remote-groups x-auth-user
        x-auth-username x-user x-username x-email x-webauth-user x-authentik-username x-authentik-email
        x-authentik-groups x-authentik-name x-authentik-uid x-authentik-jwt x-vouch-user x-token-subject
        x-pomerium-jwt-assertion x-pomerium-claim-email x-pomerium-claim-groups x-pomerium-claim-user
        tailscale-user-login tailscale-user-name tailscale-user-profile-pic""",
    "by a cloud": """
        cf-access-authenticated-user-email cf-access-jwt-assertion x-goog-authenticated-user-email
        x-goog-authenticated-user-id x-goog-iap-jwt-assertion x-ms-client-principal x-ms-client-principal-name
        x-ms-client-principal-id x-ms-client-principal-idp x-ms-token-aad-id-token x-ms-token-aad-access-token
        x-ms-token-google-id-token x-ms-token-facebook-access-token x-ms-token-github-access-token
        x-amzn-oidc-identity x-amzn-oidc-data x-amzn-oidc-accesstoken""",
    "by Shibboleth": "shib-session-id shib-identity-provider shib-application-id shib-authentication-method eppn",
    "by a certificate": """
        ssl-client-cert ssl-client-verify ssl-client-dn ssl-client-s-dn ssl-client-i-dn x-ssl-client-cert
        x-ssl-client-verify x-ssl-client-dn x-ssl-client-s-dn x-ssl-client-cn x-client-dn x-client-cert x-client-verify
        x-forwarded-client-cert x-forwarded-tls-client-cert x-forwarded-tls-client-cert-info""",
    "by https": """
        https x-https x-forwarded-https x-forwarded-scheme x-forwarded-protocol x-forwarded-ssl x-scheme
        x-original-proto x-url-scheme front-end-https cloudfront-forwarded-proto forwarded""",
    "from an address": """
        client-ip x-client-ip cf-connecting-ip true-client-ip cloudfront-viewer-address fastly-client-ip fly-client-ip
        x-azure-clientip x-azure-socketip x-cluster-client-ip x-originating-ip x-remote-addr forwarded-for""",
    "to another host or path": """
        x-forwarded-host x-forwarded-port x-forwarded-server x-original-host x-forwarded-prefix x-original-url
        x-rewrite-url x-script-name script-name proxy""",
}


@pytest.mark.parametrize("location", ["@application", "@websocket"])
def test_site_server_lets_no_claim_of_a_client_pass(render: Render, location: str) -> None:
    text = render("nginx/site.conf.j2")
    block = text[text.index(f"location {location} {{") :].partition("    }\n")[0]
    given = [value.split(" ", 1) for value in directives(block, "proxy_set_header")]
    headers = dict(given)
    assert len(headers) == len(given) == len({name.lower() for name in headers}), "none is there twice"
    assert {name: value for name, value in headers.items() if value != '""'} == SET_BY_NGINX
    taken_away = {name.lower() for name in headers} - {name.lower() for name in SET_BY_NGINX}
    known = {name.lower() for names in CLAIMS.values() for name in names.split()}
    assert known - taken_away == set()
    assert all(re.fullmatch(r"[A-Za-z0-9-]+", name) for name in headers)


def test_request_headers_are_told_of_in_the_docs() -> None:
    page = (ROLES.parents[4] / "docs" / "servers.md").read_text()
    groups = defaults("nginx")["__nginx_request_headers"]
    assert all(group["reason"].endswith(".") for group in groups)
    missing = [name for group in groups for name in group["headers"] if f"`{name}`" not in page]
    assert missing == []


@pytest.mark.parametrize(("timeout", "graceful"), [(30, 30), (120, 30), (30, 300)])
def test_site_server_gives_up_after_the_application(render: Render, timeout: int, graceful: int) -> None:
    text = render("nginx/site.conf.j2", shop(web={"timeout": timeout, "graceful_timeout": graceful}))
    request, websocket = (int(value.removesuffix("s")) for value in directives(text, "proxy_read_timeout"))
    assert request > max(timeout, graceful)
    assert websocket == 3600


@pytest.mark.parametrize("brotli", [True, False])
def test_compressed_forms_are_looked_for_beside_static_files_only(render: Render, brotli: bool) -> None:
    """Beside a visitor's upload they could be another visitor's."""
    text = render("nginx/site.conf.j2", nginx_brotli=brotli)
    static = text[text.index("location / {") : text.index("location @uploads")]
    for form, wanted in (("gzip_static", True), ("brotli_static", brotli)):
        assert directives(text, form) == directives(static, form) == (["on"] if wanted else [])


def test_protected_files_are_the_applications_to_hand_out(render: Render) -> None:
    assert "internal" not in render("nginx/site.conf.j2")
    text = render("nginx/site.conf.j2", shop(protected_media={"/protected/": "private"}))
    assert re.search(r"location \^~ /protected/ \{\s+internal;\s+alias /srv/shop/shared/private/;", text)


def block_of(text: str, location: str) -> str:
    return text[text.index(f"location {location} {{") :].partition("\n    }\n")[0]


@pytest.mark.parametrize(
    ("location", "begin"), [("@uploads", "/srv/shop/current/uploads"), ("^~ /protected/", "/srv/shop/shared")]
)
def test_links_among_files_a_site_writes_lead_to_its_own_only(render: Render, location: str, begin: str) -> None:
    """Where nginx begins to look is a directory in one of root's; a name must not be one of the site's own."""
    text = render("nginx/site.conf.j2", shop(protected_media={"/protected/": "private"}))
    assert directives(block_of(text, location), "disable_symlinks") == [f"if_not_owner from={begin}"]


def judged(rules: list[str], value: str) -> str:
    """What a map of nginx makes of a value: the first pattern that fits, else the default."""
    found = {rule.rsplit(" ", 1)[0]: rule.rsplit(" ", 1)[1] for rule in rules}
    if f'"{value}"' in found:
        return found[f'"{value}"'].strip('"')
    patterns = [key for key in found if key.startswith('"~')]
    fits = [key for key in patterns if re.search(key[1:-1].lstrip("~*"), value, re.I)]
    return found[fits[0] if fits else "default"].strip('"')


def rules_of(text: str, variable: str) -> list[str]:
    body = re.search(rf"^map .* {re.escape(variable)} {{\n(.*?)^}}", text, re.M | re.S)
    assert body
    return [line.strip().rstrip(";") for line in body[1].splitlines()]


@pytest.mark.parametrize(
    ("kind", "saved"),
    [
        ("image/png", False), ("image/jpeg", False), ("image/webp", False), ("image/svg+xml", True),
        ("audio/mpeg", False), ("video/mp4", False), ("application/pdf", False), ("text/plain", False),
        ("text/plain; charset=utf-8", False), ("text/css", False), ("font/woff2", False),
        ("application/json", False), ("text/html", True), ("text/html; charset=utf-8", True), ("text/xml", True),
        ("application/xhtml+xml", True), ("application/rss+xml", True), ("text/mathml", True),
        ("application/octet-stream", True), ("text/plainx", True), ("application/pdf+xml", True),
    ],
)  # fmt: skip
def test_uploads_that_could_run_in_a_browser_are_saved(render: Render, kind: str, saved: bool) -> None:
    text = render("nginx/djdeploy.conf.j2")
    assert judged(rules_of(text, "$djdeploy_upload_disposition"), kind) == ("attachment" if saved else "")
    assert re.search(r'default "[^"]*; sandbox";\n +"" "";', text), "and shown all the same, it is boxed in"
    location = block_of(render("nginx/site.conf.j2"), "@uploads")
    assert directives(location, "add_header") == [
        "X-Content-Type-Options nosniff",
        "Content-Disposition $djdeploy_upload_disposition",
        "Content-Security-Policy $djdeploy_upload_policy",
    ]


def test_an_answer_without_a_type_is_told_nothing(render: Render) -> None:
    """A 304 has none: the browser keeps what it was told with the body."""
    rules = rules_of(render("nginx/djdeploy.conf.j2"), "$djdeploy_upload_disposition")
    assert '"" ""' in rules and judged(rules, "") == ""


@pytest.mark.parametrize(("inline", "variable"), [([], "$djdeploy_upload"), (["svg"], "$djdeploy_inline_shop")])
def test_protected_files_are_treated_like_uploads(render: Render, inline: list[str], variable: str) -> None:
    text = render("nginx/site.conf.j2", shop(protected_media={"/protected/": "private"}, media={"inline": inline}))
    location = text[text.index("location ^~ /protected/ {") :].partition("\n    }\n")[0]
    assert directives(location, "add_header") == [
        "X-Content-Type-Options nosniff",
        f"Content-Disposition {variable}_protected",
        f"Content-Security-Policy {variable}_policy",
    ]
    rules = rules_of(text if inline else render("nginx/djdeploy.conf.j2"), f"{variable}_protected")
    assert judged(rules, "") == f"{variable}_disposition"
    assert judged(rules, "inline; filename=a.html") == "", "the application has said it"
    [hidden] = re.findall(r'if \(\$uri ~ "([^"]+)"\) {\s+return 404;', location)
    found = {uri: bool(re.search(hidden, uri)) for uri in ("/protected/.env", "/protected/a/.b/c", "/protected/a.b")}
    assert found == {"/protected/.env": True, "/protected/a/.b/c": True, "/protected/a.b": False}


@pytest.mark.parametrize(
    ("kind", "uri", "as_it_is"),
    [
        ("image/svg+xml", "/media/a.svg", True),
        ("text/html", "/media/a.html", True),
        ("text/html; charset=utf-8", "/media/a", True),
        ("text/xml", "/media/A.SVG", True),
        ("text/xml", "/media/a.xml", False),
        ("text/xml", "/media/a.svg/b.xml", False),
        ("text/xml", "/media/asvg", False),
        ("text/xml", "/text/html|", False),
    ],
)
def test_uploads_a_site_shows_as_they_are(render: Render, kind: str, uri: str, as_it_is: bool) -> None:
    text = render("nginx/site.conf.j2", {"a-b_c": {"domains": ["a.test"], "media": {"inline": ["svg", "text/html"]}}})
    variable = "$djdeploy_inline_a_db_uc"
    found = judged(rules_of(text, f"{variable}_disposition"), f"{kind}|{uri}")
    assert found == ("" if as_it_is else "$djdeploy_upload_disposition")
    assert f"Content-Disposition {variable}_disposition" in directives(block_of(text, "@uploads"), "add_header")
    assert f"Content-Security-Policy {variable}_policy" in directives(block_of(text, "@uploads"), "add_header")


def test_no_two_sites_share_a_variable(render: Render) -> None:
    names = ["a-b", "a_b", "a_db", "a_ub", "a-_b", "a_-b", "upload"]
    sites = [{name: {"domains": ["a.test"], "media": {"inline": ["svg"]}}} for name in names]
    found = [re.findall(r"\$(\w+)_disposition {", render("nginx/site.conf.j2", site)) for site in sites]
    assert len({name for (name,) in found}) == len(names)


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("/media/a.png", "uploads"),
        ("/media/a..b.png", "uploads"),
        ("/media/.env", "none"),
        ("/media/.git/config", "none"),
        ("/media/a/.b/c.png", "none"),
    ],
)
def test_names_that_begin_with_a_dot_are_no_uploads(render: Render, uri: str, place: str) -> None:
    assert judged(rules_of(render("nginx/djdeploy.conf.j2"), "$djdeploy_uploads"), uri) == place


def test_closed_site_is_closed_to_websockets(render: Render) -> None:
    text = render("nginx/site.conf.j2")
    assert text.index("return 503;") < text.index("return 555;") < text.index("return 556;")


def test_unknown_names_get_no_answer(render: Render) -> None:
    text = render("nginx/djdeploy.conf.j2")
    assert "listen 80 default_server;" in text
    assert "return 444;" in text
    assert not re.search(r"^\s*(gzip|server_tokens) on;", text, re.M), "Debian's nginx.conf says them already"


@pytest.mark.parametrize(
    ("uri", "for_ever"),
    [
        ("/static/css/site.55e7cbb9ba48.css", True),
        ("/static/site.css", False),
        ("/static/site.55e7cbb9ba4.css", False),
        ("/media/55e7cbb9ba48.jpg", False),
        ("/static/lib.min.0123456789ab.js", True),
    ],
)
def test_only_names_with_a_digest_are_cached_for_ever(render: Render, uri: str, for_ever: bool) -> None:
    pattern = re.search(r'"~(\S+)" 1y;', render("nginx/djdeploy.conf.j2"))
    assert pattern
    assert bool(re.search(pattern[1], uri)) is for_ever


@pytest.mark.parametrize(
    ("host", "header", "expected"),
    [
        ("shop.example.com", "shop.example.com:8080", "shop.example.com:8080"),
        ("shop.example.com", "shop.example.com", None),
        ("shop.example.com", "evil.example.com:80", None),
        ("shop.example.com", "", None),
    ],
)
def test_the_port_of_the_host_header_is_kept_for_the_same_host_only(
    render: Render, host: str, header: str, expected: str | None
) -> None:
    found = re.search(r'"~(\S+)" \$djdeploy_given;', render("nginx/djdeploy.conf.j2"))
    assert found
    pattern = found[1].replace("(?<", "(?P<").replace("\\k<djdeploy_name>", "(?P=djdeploy_name)")
    match = re.search(pattern, f"{host}|{header}")
    assert (match["djdeploy_given"] if match else None) == expected


# --- postgres, sshd, the engine -------------------------------------------------------------------


def rules(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("#")]


@pytest.mark.parametrize(
    ("sites", "expected"),
    [
        ({}, ["local all postgres peer"]),
        ({"shop": []}, ["local all postgres peer", 'local "shop" "shop" peer']),
        (
            {"shop": ["10.0.0.2", "fd00::2"]},
            [
                "local all postgres peer",
                'local "shop" "shop" peer',
                'hostssl "shop" "shop" 10.0.0.2/32 scram-sha-256',
                'hostssl "shop" "shop" fd00::2/128 scram-sha-256',
            ],
        ),
    ],
)
def test_pg_hba(render: Render, sites: dict[str, list[str]], expected: list[str]) -> None:
    assert rules(render("postgres/pg_hba.conf.j2", postgres_sites=sites)) == expected


def test_pg_hba_lets_a_site_into_all_its_databases(render: Render) -> None:
    text = render(
        "postgres/pg_hba.conf.j2",
        postgres_sites={"shop": ["10.0.0.2"], "blog": []},
        postgres_databases={"shop": ["shop", "shop_reports"]},
    )
    found = rules(text)
    assert 'local "shop","shop_reports" "shop" peer' in found and 'local "blog" "blog" peer' in found
    assert 'hostssl "shop","shop_reports" "shop" 10.0.0.2/32 scram-sha-256' in found


OTHERS = {
    "blog": {"served": True, "databases": ["blog", "blog_log"], "addresses": ["10.0.0.3"], "deploy_keys": []},
    "small": {"served": True, "databases": [], "addresses": [], "deploy_keys": []},
}


def test_pg_hba_keeps_what_other_inventories_have(render: Render) -> None:
    said: dict[str, Any] = {"postgres_sites": {"shop": []}, "postgres_granted": OTHERS}
    assert rules(render("postgres/pg_hba.conf.j2", **said)) == [
        "local all postgres peer",
        'local "blog","blog_log" "blog" peer',
        'local "shop" "shop" peer',
        'hostssl "blog","blog_log" "blog" 10.0.0.3/32 scram-sha-256',
    ]
    assert "listen_addresses" in render("postgres/djdeploy.conf.j2", **said)
    ident = rules(render("postgres/pg_ident.conf.j2", **said, postgres_pooler="pgbouncer"))
    assert {'djdeploy "blog" "blog"', 'djdeploy "pgbouncer" "blog"', 'djdeploy "shop" "shop"'} < set(ident)


def test_authorized_keys_have_one_line_for_a_key_of_two_inventories(render: Render) -> None:
    key = "ssh-ed25519 QW5u ann@laptop"
    others = {"blog": {**OTHERS["blog"], "deploy_keys": [key]}}
    sites = {"shop": {"domains": ["shop.example.com"], "deploy_keys": [key]}}
    (line,) = rules(render("git_repo/authorized_keys.j2", sites, git_repo_granted=others))
    assert 'receive --key=ann@laptop blog shop"' in line


def test_postgres_listens_for_other_hosts_only_when_there_are_some(render: Render) -> None:
    assert "listen_addresses" not in render("postgres/djdeploy.conf.j2", postgres_sites={"shop": []})
    text = render(
        "postgres/djdeploy.conf.j2", postgres_sites={"shop": ["10.0.0.2"]}, postgres_settings={"work_mem": "'8MB'"}
    )
    assert "listen_addresses = 'localhost, 10.0.0.1'" in text
    assert "work_mem = '8MB'" in text


def test_postgres_waits_not_long_for_who_says_nothing(render: Render) -> None:
    text = render("postgres/djdeploy.conf.j2", postgres_settings={"authentication_timeout": "20s"})
    said = [line for line in rules(text) if line.startswith("authentication_timeout")]
    assert said == ["authentication_timeout = 10s", "authentication_timeout = 20s"], "the last one counts"


def test_sshd_lets_git_do_nothing_but_push(render: Render) -> None:
    text = render("git_repo/30-djdeploy.conf.j2")
    assert rules(text)[0] == "Match User git"
    assert rules(text)[-1] == "Match all", "what follows in sshd's own files must not be git's only"
    assert "    AuthenticationMethods publickey" in text
    assert "    DisableForwarding yes" in text


@pytest.mark.parametrize("said", [{}, {"git_repo_idle_timeout": "2h"}])
def test_sshd_ends_what_opens_no_session_soon(render: Render, said: dict[str, str]) -> None:
    """No command runs for such a connection, so nobody counts those of a key."""
    assert "    UnusedConnectionTimeout 30s" in rules(render("git_repo/30-djdeploy.conf.j2", **said))


def test_authorized_keys_are_read_from_all_sites(render: Render) -> None:
    sites = {"shop": {"domains": ["a.example"], "deploy_keys": ["ssh-ed25519 a2V5 ann"]}}
    sites["blog"] = {"domains": ["b.example"], "deploy_keys": ["ssh-ed25519 a2V5 ann"]}
    assert rules(render("git_repo/authorized_keys.j2", sites)) == [
        'restrict,command="/usr/local/bin/djdeploy receive --key=ann blog shop" ssh-ed25519 a2V5 ann'
    ]


def test_site_json_holds_no_secret(render: Render) -> None:
    text = render("site/site.json.j2", shop(secrets={"TOKEN": "hunter2"}))
    assert "hunter2" not in text
    assert '"name": "shop"' in text


def test_deployer_is_asked_by_root_and_git_only(render: Render) -> None:
    roots, pushes = (unit(render(f"engine/djdeploy-deployer{of}.socket.j2"))["Socket"] for of in ("", ".push"))
    assert (roots["SocketUser"], roots["SocketGroup"], roots["SocketMode"]) == (["root"], ["root"], ["0600"])
    assert (pushes["SocketUser"], pushes["SocketGroup"], pushes["SocketMode"]) == (["root"], ["git"], ["0660"])
    assert roots["ListenStream"] != pushes["ListenStream"], "pushes take no place of root's"
    assert int(pushes["MaxConnections"][0]) > max(admission.OF_A_KEY, admission.OF_A_SITE), "the rest can still push"
    service = unit(render("engine/djdeploy-deployer@.service.j2"))["Service"]
    assert service["StandardInput"] == ["socket"]
    assert service["MemoryMax"] == ["75%"] and service["TasksMax"] == ["2048"]


@pytest.mark.parametrize("name", ["shop", "shop-eu", "a-b_c"])
def test_all_that_runs_of_a_site_is_in_its_slice(render: Render, name: str) -> None:
    sites = {name: {"domains": ["shop.example.com"], "limits": {"tasks": 99, "memory_max": "2G"}}}
    found = unit(render("gunicorn/site.slice.j2", sites))["Slice"]
    assert found == {"TasksMax": ["99"], "MemoryMax": ["2G"]}
    for template in (*OF_A_SITE, "redis/redis.service.j2"):
        assert unit(render(template, sites))["Service"]["Slice"] == [SitePaths(name).slice], template


def test_a_push_is_no_larger_than_the_site_says(render: Render, tmp_path: Path) -> None:
    path = tmp_path / "shop.conf"
    path.write_text(render("git_repo/receive.conf.j2", shop(limits={"push_size": "3M"})))
    words = ["git", "-c", f"include.path={path}", "config", "--type=int", "receive.maxInputSize"]
    assert subprocess.check_output(words, text=True).strip() == str(3 << 20) == str(door.push_size(path))


def test_nginx_takes_more_connections_than_debian_lets_it(render: Render) -> None:
    text = render("nginx/nginx.conf.j2", nginx_worker_connections=5000)
    assert "worker_connections 5000;" in text and "worker_rlimit_nofile 10000;" in text
    for place in ("modules-enabled", "conf.d", "sites-enabled"):
        assert f"include /etc/nginx/{place}/" in text


@pytest.mark.parametrize("template", ["engine/djdeploy.j2", "engine/pre-receive.j2", "engine/post-receive.j2"])
def test_shell_programs_are_shell(render: Render, template: str, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text(render(template))
    assert program.read_text().startswith("#!/bin/sh\n")
    subprocess.run(["/bin/sh", "-n", program], check=True)


def test_units_read_as_units(render: Render) -> None:
    """systemd takes names twice, Python's parser does not mind when told; both need sections."""
    for template in TEMPLATES:
        if template.endswith((".service.j2", ".socket.j2")):
            RawConfigParser(strict=False).read_string(render(template, job="clean", current="/srv/shop/current"))


# --- pgbouncer ------------------------------------------------------------------------------------


POOLED = {"pgbouncer_databases": {"shop": "shop", "shop_reports": "shop", "my-blog": "my-blog"}}
POOL = {"pgbouncer_pool_size": 16, "pgbouncer_max_clients": 4000}


def test_pgbouncer_lets_a_site_into_its_own_databases_only(render: Render) -> None:
    rules = [line for line in render("pgbouncer/hba.conf.j2", **POOLED).splitlines() if line.startswith("local")]
    assert rules == [
        "local pgbouncer root peer",
        'local "my-blog" "my-blog" peer',
        'local "shop" "shop" peer',
        'local "shop_reports" "shop" peer',
    ]


def test_pgbouncer_pools_transactions_and_never_listens_to_the_network(render: Render) -> None:
    text = render("pgbouncer/pgbouncer.ini.j2", **POOLED, **POOL)
    found = dict(re.split(r" ?= ?", line, maxsplit=1) for line in text.splitlines() if re.match(r"[a-z]", line))
    assert (found["listen_addr"], found["auth_type"], found["pool_mode"]) == ("", "hba", "transaction")
    assert (found["shop_reports"], found["default_pool_size"]) == ("host=/run/postgresql", "16")
    assert found["max_user_client_connections"] == "2000", "so that no site takes them all"


def test_pgbouncer_is_nobody_and_as_confined_as_the_web_server(render: Render) -> None:
    service = unit(render("pgbouncer/pgbouncer.service.j2", **POOLED, **POOL))["Service"]
    web = unit(render("gunicorn/release.service.j2"))["Service"]
    assert service["User"] == service["Group"] == ["pgbouncer"]
    assert service["RestrictAddressFamilies"] == ["AF_UNIX"]
    for name in web:
        if name == "PrivateIPC":
            continue  # it runs no project's code
        if name.startswith(("Protect", "Private", "RestrictN", "Capab", "NoNew")):
            assert service[name] == web[name], name
    socket = unit(render("pgbouncer/pgbouncer.socket.j2", **POOLED, **POOL))["Socket"]
    assert socket["ListenStream"] == ["/run/pgbouncer/.s.PGSQL.6432"]


@pytest.mark.parametrize(
    "template", ["gunicorn/release.service.j2", "processes/process.service.j2", "processes/job.service.j2"]
)
def test_only_units_of_a_pooled_site_read_where_the_pooler_is(render: Render, template: str) -> None:
    pooled = unit(render(template, shop(pgbouncer={"enabled": True})))["Service"]["EnvironmentFile"]
    plain = unit(render(template))["Service"]["EnvironmentFile"]
    assert pooled[:2] == plain and len(pooled) == 3
    assert re.fullmatch(r"-/srv/shop/releases/%[iI]/pooled\.env", pooled[2]), "the last one wins, and may be missing"


@pytest.mark.parametrize(("pooler", "end"), [("", "peer"), ("pgbouncer", "peer map=djdeploy")])
def test_postgresql_lets_the_pooler_in_only_where_there_is_one(render: Render, pooler: str, end: str) -> None:
    said: dict[str, Any] = {"postgres_sites": {"shop": []}, "postgres_pooler": pooler}
    assert f'local "shop" "shop" {end}' in render("postgres/pg_hba.conf.j2", **said).splitlines()
    lines = render("postgres/pg_ident.conf.j2", **said, postgres_ident_extra=["backup root postgres"]).splitlines()
    wanted = ["backup root postgres", 'djdeploy "shop" "shop"', f'djdeploy "{pooler}" "shop"']
    assert [line for line in lines if line and not line.startswith("#")] == wanted


# --- processes and redis --------------------------------------------------------------------------


@pytest.mark.parametrize("template", ["processes/process.service.j2", "processes/job.service.j2"])
def test_processes_are_as_confined_as_the_web_server(render: Render, template: str) -> None:
    found, web = unit(render(template))["Service"], unit(render("gunicorn/release.service.j2"))["Service"]
    names = [
        name for name in web if name.startswith(("Protect", "Private", "Restrict", "Capab", "SystemCall", "NoNew"))
    ]
    assert {name: found[name] for name in names} == {name: web[name] for name in names}
    assert found["ReadWritePaths"] == ["/srv/shop/shared"]
    assert found["User"] == ["shop"]
    assert found["ExecStart"] == ["/srv/shop/releases/%I/run"]
    assert found["KillMode"] == ["mixed"]


OF_A_SITE = ["gunicorn/release.service.j2", "processes/process.service.j2", "processes/job.service.j2"]


@pytest.mark.parametrize("template", OF_A_SITE)
def test_units_of_a_site_see_its_own_part_of_the_host(render: Render, template: str) -> None:
    service = unit(render(template))["Service"]
    hidden = service["TemporaryFileSystem"][0].split()
    assert {f"{path}:ro" for path in ("/srv", "/etc/djdeploy", "/var/lib/djdeploy", "/run/djdeploy")} <= set(hidden)
    reads = " ".join(service["BindReadOnlyPaths"]).split()
    assert "/srv/shop" in reads and "-/etc/djdeploy/sites/shop.secrets" in reads
    assert not [path for path in reads if path.endswith((".env", "sites", "/srv"))]
    assert service["ReadWritePaths"] == ["/srv/shop/shared"]
    results = ["/var/lib/djdeploy/shop/jobs"] if "job" in template else []  # root's, for ExecStopPost=
    assert service["BindPaths"] == ["/srv/shop/shared", *results]
    assert service["UMask"] == ["0027"]


@pytest.mark.parametrize("template", [name for name in TEMPLATES if name.endswith(".service.j2")])
def test_units_of_a_site_have_a_shared_memory_of_their_own(render: Render, template: str) -> None:
    """The host's is one directory for all sites: to be read, and to be filled."""
    more = {**POOLED, **POOL, "job": "nightly", "current": "/srv/shop/current"}
    service = unit(render(template, **more))["Service"]
    own = [each for value in service.get("TemporaryFileSystem", []) for each in value.split() if "/dev/shm" in each]
    runs_a_site = service.get("User") == ["shop"]
    assert runs_a_site == (template in {*OF_A_SITE, "redis/redis.service.j2"})
    assert own == ([sandbox.SHARED_MEMORY] if runs_a_site else [])
    assert "mode=1777" in sandbox.SHARED_MEMORY, "systemd makes it root's to write"
    assert "%" not in sandbox.SHARED_MEMORY, "in a unit it would be a specifier, or not, by the version of systemd"


@pytest.mark.parametrize("template", [*OF_A_SITE, "redis/redis.service.j2"])
def test_units_of_a_site_cannot_ask_systemd_about_others(render: Render, template: str) -> None:
    (hidden,) = unit(render(template))["Service"]["InaccessiblePaths"]
    assert hidden.split() == ["-/run/dbus", "-/run/systemd/transient"]
    assert f"InaccessiblePaths={hidden}" in sandbox.site_view(sandbox.SiteBox(SitePaths("shop")))


@pytest.mark.parametrize("template", OF_A_SITE)
def test_units_of_a_release_and_work_beside_it_are_confined_alike(render: Render, template: str) -> None:
    service = unit(render(template))["Service"]
    said = {f"{name}={value}" for name, values in service.items() for value in values}
    assert set(sandbox.CONFINED) <= said
    assert not set(sandbox.ENDED) & said, "a server lets its workers finish"
    assert f"TemporaryFileSystem={sandbox.hidden()}" in said
    assert "PrivateIPC=yes" in said, "segments of System V are counted for the whole host"


@pytest.mark.parametrize("name", ["nginx", "postgres"])
def test_drop_ins_change_nothing_but_what_a_server_may(render: Render, name: str) -> None:
    found = unit(render(f"{name}/sandbox.conf.j2"))
    assert list(found) == ["Service"]
    assert not {"ExecStart", "User", "Type", "PIDFile"} & set(found["Service"])
    assert "CAP_SYS_ADMIN" not in found["Service"]["CapabilityBoundingSet"][0]


def test_nginx_sees_no_secret_of_a_site(render: Render) -> None:
    hidden = " ".join(unit(render("nginx/sandbox.conf.j2"))["Service"]["InaccessiblePaths"]).split()
    assert {"-/etc/djdeploy", "-/var/lib/djdeploy"} <= set(hidden)


def test_a_process_is_started_again_and_a_job_is_not(render: Render) -> None:
    assert unit(render("processes/process.service.j2"))["Service"]["Restart"] == ["always"]
    assert "Restart" not in unit(render("processes/job.service.j2"))["Service"]


@pytest.mark.parametrize(
    ("said", "policy"), [({"enabled": True}, "noeviction"), ({"enabled": True, "evict": True}, "allkeys-lru")]
)
def test_redis_is_for_the_site_alone(render: Render, said: dict[str, Any], policy: str) -> None:
    lines = dict(
        line.split(" ", 1)
        for line in render("redis/redis.conf.j2", shop(redis=said)).splitlines()
        if line and not line.startswith("#") and " " in line
    )
    assert (lines["port"], lines["unixsocketperm"], lines["maxmemory-policy"]) == ("0", "600", policy)
    assert lines["unixsocket"] == "/run/redis-shop/redis.sock"
    assert unit(render("redis/redis.service.j2"))["Service"]["User"] == ["shop"]


#: What redis-server@.service of Debian 12 and 13 says itself, as far as other units of a site say it, too.
DEBIANS_REDIS = {
    "CapabilityBoundingSet=",
    "LockPersonality=yes",
    "NoNewPrivileges=yes",
    "PrivateDevices=yes",
    "ProtectClock=yes",
    "ProtectControlGroups=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "ProtectProc=invisible",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "SystemCallFilter=~@privileged @resources",
}


def test_redis_is_as_confined_as_the_web_server(render: Render) -> None:
    service = unit(render("redis/redis.service.j2"))["Service"]
    said = DEBIANS_REDIS | {f"{name}={value}" for name, values in service.items() for value in values}
    wanted = {each.removesuffix(" AF_NETLINK") for each in sandbox.CONFINED}
    assert wanted - said == set()
    web = unit(render("gunicorn/release.service.j2"))["Service"]
    assert service["TemporaryFileSystem"] == web["TemporaryFileSystem"]
    assert service["BindReadOnlyPaths"] == ["/etc/djdeploy/sites/shop.redis.conf"]
    assert service["ReadWritePaths"] == [""], "nothing of Debian's other instances"
