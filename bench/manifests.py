"""What a plan would put into a cluster, as manifests for those who do the same with other tools."""

import json

# In the place of what each copy has for itself.
TENANT, STACK, OWNER = "@TENANT@", "@STACK@", "@OWNER@"
URL, MIGRATION_URL, GENERATED = "@URL@", "@MIGRATION_URL@", "@GENERATED@"


def of(plan, tenant):
    """The manifests of a plan's cluster objects, in an order in which they can be applied, with places for what differs."""
    bodies = [change["resource"]["body"] for change in plan["changes"].values()]
    found = [body for body in bodies if isinstance(body, dict) and "apiVersion" in body]
    for run in plan["runs"].values():
        job = dict(run["body"]["manifest"])
        job["metadata"] = {**job["metadata"], "name": run["id"].split(".", 1)[1], "namespace": run["body"]["namespace"]}
        found.append(job)
    order = ["Namespace", "ResourceQuota", "LimitRange", "ServiceAccount", "NetworkPolicy", "ConfigMap", "Secret", "Job"]
    found.sort(key=lambda body: order.index(body["kind"]) if body["kind"] in order else len(order))
    text = json.dumps([plain(body) for body in found])
    text = text.replace(plan["stack"], STACK).replace(tenant, TENANT)
    text = text.replace('"app.kubernetes.io/managed-by": "freehold"', f'"app.kubernetes.io/managed-by": "{OWNER}"')
    return json.loads(text)


def plain(body):
    """The texts of a Secret are filled in by whoever applies it; a checksum may be any text."""
    if body["kind"] != "Secret":
        return without_leaves(body)
    texts = {key: secret(key, leaf) for key, leaf in body["data"].items()}
    return {**{name: value for name, value in body.items() if name != "data"}, "stringData": texts}


def secret(key, leaf):
    """The place of a secret text: a database's URL, for the app or for migrations, or a generated one."""
    if not key.endswith("_URL"):
        return GENERATED
    return MIGRATION_URL if "migra" in json.dumps(leaf) else URL


def without_leaves(value):
    if isinstance(value, list):
        return [without_leaves(item) for item in value]
    if isinstance(value, dict):
        if len(value) == 1 and next(iter(value)).startswith("$"):
            return "0123456789abcdef"
        return {name: without_leaves(item) for name, item in value.items()}
    return value


def copy(manifests, tenant, stack, owner):
    """The manifests for another tenant."""
    text = json.dumps(manifests)
    for place, word in ((TENANT, tenant), (STACK, stack), (OWNER, owner)):
        text = text.replace(place, word)
    return json.loads(text)


def as_list(bodies):
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": bodies})
