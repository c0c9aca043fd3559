"""A worker that is killed while it writes a file leaves no half one, and the job writes the whole one later."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.blobs.slow_app import GROUPS
from tests.shop.serving import kill_a_worker
from trivet.data.groups import GROUP
from trivet.testing import serve

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
async def test_a_file_is_whole_after_its_worker_was_killed_in_the_middle(tmp_path: Path) -> None:
    folder = tmp_path / "blobs"
    environ = {"TRIVET_BLOBS__FOLDER": str(folder), "TRIVET_SERVER__WORKERS": "1"}
    with serve("tests.blobs.slow_app:app", app_dir=ROOT, environ=environ) as served:
        async with httpx2.AsyncClient(base_url=served.url, timeout=30) as client:

            async def status() -> dict[str, Any]:
                while True:
                    try:
                        found: dict[str, Any] = (await client.get(job)).raise_for_status().json()
                        return found
                    except httpx2.HTTPError:  # its connection was to the worker that is gone
                        await asyncio.sleep(0.05)

            job = (await client.post("/v1/export-numbers")).headers["location"]
            async with asyncio.timeout(25):
                while ((begun := await status())["progress"] or {}).get("done", 0) < GROUP:  # noqa: ASYNC110 - it is polled
                    await asyncio.sleep(0.05)
            kill_a_worker(served, 0)
            assert len(list((folder / "partial").iterdir())) == 1
            async with asyncio.timeout(85):
                while (done := await status())["state"] not in ("succeeded", "failed"):  # noqa: ASYNC110 - it is polled
                    await asyncio.sleep(0.2)
            assert done["state"] == "succeeded", done
            assert done["start_time"] > begun["start_time"]  # it ran again
            answer = await client.get(f"{job}/file")
            assert len(answer.content) == done["result"]["size"]
            assert [json.loads(line)["value"] for line in answer.text.splitlines()] == list(range(GROUPS * GROUP))
    [file] = [path for path in folder.rglob("*") if path.is_file()]
    assert file.name == done["id"].replace("-", "")
