"""The ready-made actions, of the extra ``actions``: docs/reference/actions.md

``actions.http(url=…)`` gives a configured action; ``await`` it with items in a workflow. Importing this module declares them all, so that
``perdure serve`` and ``perdure worker`` have them by its name.
"""

from collections.abc import Sequence
from typing import Any, Final

from perdure.actions.configured import Configurable, Configured, Item, Items, Options, Step, configurable
from perdure.actions.filtering import filter_html, filter_json, filter_success, parse_json
from perdure.actions.mailing import Mail
from perdure.actions.markup import html_select, links
from perdure.actions.nested import group, run_definition, wait
from perdure.actions.notifying import Notify, Webhook, notify
from perdure.actions.novelty import new_data
from perdure.actions.people.approval import approve
from perdure.actions.people.asking import Escalation
from perdure.actions.personal.pseudonyms import hide, pseudonymise, pseudonymise_input, reidentify, reidentify_output, reveal
from perdure.actions.querying import Operation, json_query
from perdure.actions.secret import Secret
from perdure.actions.text import normalize_text, regex, template
from perdure.actions.web.auth import BasicAuth, BearerAuth, HeaderAuth
from perdure.actions.web.http import http
from perdure.actions.web.paging import NextLink, NextPath, PageParameter

CATALOGUE: Final[Sequence[Configurable[..., Any]]] = (
    http,
    filter_success,
    filter_json,
    filter_html,
    parse_json,
    json_query,
    html_select,
    links,
    regex,
    template,
    normalize_text,
    new_data,
    wait,
    notify,
    run_definition,
    group,
    approve,
    pseudonymise,
    reidentify,
)
"""All of them, each with its ``name`` and what it does."""

__all__ = [
    "CATALOGUE",
    "BasicAuth",
    "BearerAuth",
    "Configurable",
    "Configured",
    "Escalation",
    "HeaderAuth",
    "Item",
    "Items",
    "Mail",
    "NextLink",
    "NextPath",
    "Notify",
    "Operation",
    "Options",
    "PageParameter",
    "Secret",
    "Step",
    "Webhook",
    "approve",
    "configurable",
    "filter_html",
    "filter_json",
    "filter_success",
    "group",
    "hide",
    "html_select",
    "http",
    "json_query",
    "links",
    "new_data",
    "normalize_text",
    "notify",
    "parse_json",
    "pseudonymise",
    "pseudonymise_input",
    "regex",
    "reidentify",
    "reidentify_output",
    "reveal",
    "run_definition",
    "template",
    "wait",
]
