"""The official Python SDK at work: one JSON ask per line on stdin, one JSON answer per line on stdout."""

import json
import sys

import openai


def mint(ask: dict) -> dict:
    client = openai.OpenAI(api_key=ask["api_key"], base_url=ask["base_url"], max_retries=ask["max_retries"])
    doors = {"realtime": client.realtime.client_secrets, "translation": client.realtime.translations.client_secrets}
    try:
        return doors[ask["api"]].create(**ask["body"], extra_query=ask["query"]).to_dict()
    except openai.APIStatusError as error:
        return {
            "raised": type(error).__name__,
            "status": error.status_code,
            "code": error.code,
            "param": error.param,
            "shown": error.message,
            "sent": error.body,
        }


for line in sys.stdin:
    print(json.dumps(mint(json.loads(line))), flush=True)
