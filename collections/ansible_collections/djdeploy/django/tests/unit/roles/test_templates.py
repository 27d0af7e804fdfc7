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

from .conftest import ROLES, Render

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
    assert directives(text, "try_files")[1] == "/current/uploads$uri @application"
    assert set(directives(text, "proxy_next_upstream")) == {"off"}
    assert directives(text, "access_log") == ["/var/log/nginx/djdeploy-shop.access.log djdeploy"]
    assert directives(text, "error_log") == ["/var/log/nginx/djdeploy-shop.error.log"]
    assert directives(text, "keepalive") == []
    assert directives(text, "proxy_intercept_errors") == [], "pages of the application are the application's"
    assert text.count("{") == text.count("}")


def test_site_server_lets_no_claim_of_a_client_pass(render: Render) -> None:
    headers = dict(value.split(" ", 1) for value in directives(render("nginx/site.conf.j2"), "proxy_set_header"))
    assert headers == {
        "Host": "$djdeploy_host",
        "X-Real-IP": "$remote_addr",
        "X-Forwarded-For": "$remote_addr",
        "X-Forwarded-Proto": "$scheme",
        "X-Forwarded-Host": '""',
        "X-Forwarded-Port": '""',
        "Forwarded": '""',
        "Proxy": '""',
        "X-Request-ID": "$request_id",
        "Upgrade": "$djdeploy_upgrade",
        "Connection": "$djdeploy_connection",
    }


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


def test_postgres_listens_for_other_hosts_only_when_there_are_some(render: Render) -> None:
    assert "listen_addresses" not in render("postgres/djdeploy.conf.j2", postgres_sites={"shop": []})
    text = render(
        "postgres/djdeploy.conf.j2", postgres_sites={"shop": ["10.0.0.2"]}, postgres_settings={"work_mem": "'8MB'"}
    )
    assert "listen_addresses = 'localhost, 10.0.0.1'" in text
    assert "work_mem = '8MB'" in text


def test_sshd_lets_git_do_nothing_but_push(render: Render) -> None:
    text = render("git_repo/30-djdeploy.conf.j2")
    assert rules(text)[0] == "Match User git"
    assert rules(text)[-1] == "Match all", "what follows in sshd's own files must not be git's only"
    assert "    AuthenticationMethods publickey" in text
    assert "    DisableForwarding yes" in text


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
    socket = unit(render("engine/djdeploy-deployer.socket.j2"))["Socket"]
    assert (socket["SocketUser"], socket["SocketGroup"], socket["SocketMode"]) == (["root"], ["git"], ["0660"])
    service = unit(render("engine/djdeploy-deployer@.service.j2"))["Service"]
    assert service["StandardInput"] == ["socket"]


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
            RawConfigParser(strict=False).read_string(render(template, job="clean"))


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
