"""What real apps need and 0.1.0 had no words for: the key that says it now, where an app says it, and the test that asks for it at run time."""

import re

from platform_under_test import TOP

APPS = TOP / "tests" / "fixtures" / "apps"
SITE, LEDGER, DATA = "site.toml", "ledger.toml", "budget.toml"

# Need, what it is, the key, which app says it and how, the test that asks for it.
SAID = [
    ("E01", "values by stage and preview", "[stage.X] service.web.env.A = …", SITE, r"service\.web\.env\.APP_ENV += \"preview\"", "a_site_behind_a_proxy_that_speaks_something_else"),
    ("E02", "hosts by stage, several hosts", "route.X.hosts, redirect_from", SITE, r"route\.web\.redirect_from", "a_site_behind_a_proxy_that_speaks_something_else"),
    ("E03", "paths of a host to services", "paths = [{ prefix, service }]", LEDGER, r"prefix = \"/api\", service = \"api\"", "a_product_with_an_api_below_a_path_jobs_on_demand_and_flags_by_stage"),
    ("E04", "redirects, answers, headers, CORS, bodies", "redirect, respond, response_headers, cors, max_body", SITE, r"respond = \{ status = 403", "a_site_behind_a_proxy_that_speaks_something_else"),
    ("E05", "rate limit", "route.X.rate_limit", SITE, r"^rate_limit", "all_that_a_route_can_have_is_so_and_nothing_of_it_is_left"),
    ("E06", "passwords, addresses (no OIDC)", "basic_auth, allow_from", LEDGER, r"^allow_from", "all_that_a_route_can_have_is_so_and_nothing_of_it_is_left"),
    ("E07", "parts of a database's URL", "${database.X.host} …", SITE, r"\$\{database\.main\.password\}", "a_site_behind_a_proxy_that_speaks_something_else"),
    ("E08", "the database's server", "[database.X.server]", DATA, r"^\[database\.facts\.server\]", "a_data_service_with_several_databases_a_cache_and_a_queue"),
    ("E09", "TLS to databases", "${database.X.sslmode}, the URLs", DATA, r"\$\{database\.facts\.url\}", "a_data_service_with_several_databases_a_cache_and_a_queue"),
    ("E10", "extensions off the list", "database.X.template", None, None, "an_extension_of_a_superusers_comes_with_the_template"),
    ("E11", "caches, side by side", "[cache.X]", DATA, r"^persist = true", "a_data_service_with_several_databases_a_cache_and_a_queue"),
    ("E12", "buckets (on one machine)", "[bucket.X]", None, None, "buckets_are_deployed_and_used_outlast_every_end_and_go_only_where_they_are_named"),
    ("E13", "ports, TCP, host and port", "protocol, ports, ${service.X.host}", SITE, r"^protocol = \"tcp\"", "a_site_behind_a_proxy_that_speaks_something_else"),
    ("E14", "ways out and in", "egress, ingress", DATA, r"^egress", "what_a_service_says_is_what_the_cluster_keeps"),
    ("E15", "files", "[service.X.files]", SITE, r"file = \"nginx\.conf\"", "a_site_behind_a_proxy_that_speaks_something_else"),
    ("E16", "containers of the deployed image", "sidecar.X.service", None, None, "what_a_service_says_is_what_the_cluster_keeps"),
    ("E17", "facts of Pod, image, revision", "${pod.…}, ${service.X.image_digest}", DATA, r"\$\{pod\.node\}", "a_data_service_with_several_databases_a_cache_and_a_queue"),
    ("E19", "order, once, on demand", "after, when", SITE, r"^when += \"once\"", "a_product_with_an_api_below_a_path_jobs_on_demand_and_flags_by_stage"),
    ("E21", "quota and sizes by stage and preview", "[preview] quota, autoscale = \"off\"", LEDGER, r"service\.api\.autoscale += \"off\"", "a_product_with_an_api_below_a_path_jobs_on_demand_and_flags_by_stage"),
    ("E22", "scaling by memory", "autoscale.memory", LEDGER, r"memory = 80", "all_that_a_service_can_have"),
    ("E25", "containers on one machine (no TLS)", "image without build", None, None, "an_image_runs_beside_a_process_is_updated_rolled_back_taken_over_and_gone_without_a_trace"),
    ("E26", "probes of other kinds and times", "health = { ready = { … } }", DATA, r"period = \"2s\"", "what_a_service_says_is_what_the_cluster_keeps"),
    ("E29", "requests and limits of a quota", "quota = { cpu = \"2..8\" }", LEDGER, r"cpu = \"2\.\.8\"", "what_a_service_says_is_what_the_cluster_keeps"),
]
# What there are no words for yet, and whether this version was to have them.
UNSAID = [
    ("E20", "secrets: optional, shared, from elsewhere", True),
    ("E28", "placement on nodes", True),
    ("E18", "metrics, alerts, dashboards", False),
    ("E23", "an API token for the app", False),
    ("E24", "images from a Dockerfile", False),
    ("E27", "programs that need root", False),
    ("E30", "a volume of several copies", False),
    ("E31", "backups on a schedule", False),
    ("E32", "other entrances", False),
    ("E33", "sites without a server", False),
    ("E36", "Git as the source", False),
]


def run(report):
    tests = {name for path in TOP.glob("**/tests/**/*.rs") if "target" not in path.parts for name in re.findall(r"fn (\w+)\(", path.read_text(encoding="utf-8"))}
    said = 0
    for need, what, key, app, pattern, test in SAID:
        shown = app is None or re.search(pattern, (APPS / app).read_text(encoding="utf-8"), re.MULTILINE)
        wrong = [] if shown else [f"{app} doesn't say it"]
        wrong += [] if test in tests else [f"there is no test {test}"]
        said += not wrong
        print(f"  {need} {what:<44} {key:<50} {'; '.join(wrong) or test}")
    for need, what, _ in UNSAID:
        print(f"  {need} {what:<44} not yet")
    wanted = len(SAID) + sum(due for _, _, due in UNSAID)
    report.add("needs of real apps that the language has words for", said, "needs", least=wanted)
