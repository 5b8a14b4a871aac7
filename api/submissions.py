"""``POST /evaluation``: a form with a zip, a zip as it is, or a JSON body with git URLs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import msgspec
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

from api import schemas, uploads
from api.client import NodeClient, NodeUnavailable, TransferRefused
from api.problems import Problem
from api.settings import Settings
from api.spool import Spool
from api.uploads import UploadRequest
from proto.messages import Options, Response, SubmitArchive, SubmitProjects

ZIP_TYPES = ("application/zip", "application/x-zip-compressed", "application/x-zip")
UNNAMED_TYPES = ("application/x-www-form-urlencoded", "application/octet-stream", "")
"""What clients send who did not say what they send: taken if the body starts as a zip does."""
MAX_FILENAME = 255
TRIES = 3
"""Times an archive is sent to nodes that are replaced meanwhile."""
UNKNOWN_UPLOAD = "Unknown upload"
"""Title of the node's answer when the archive is not there any more (the node was replaced meanwhile)."""

_title: msgspec.json.Decoder[dict[str, msgspec.Raw]] = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Submissions:
    """Takes submissions in and hands them to the node."""

    def __init__(self, client: NodeClient, settings: Settings) -> None:
        self._client = client
        self._settings = settings
        self._places = threading.BoundedSemaphore(settings.max_uploads)

    def submit(self, request: UploadRequest, caller: str) -> Response:
        """The node's answer to the submission in ``request``.

        Raises:
            Problem: what the client got wrong.
            NodeUnavailable: no node took it in.
        """
        name = schemas.request_id(request.headers.get("Idempotency-Key"), caller)
        kind = request.mimetype
        if kind == "application/json":
            return self._projects(request, name)
        if kind == "multipart/form-data":
            return self._received(request, lambda: self._form(request, name))
        if kind in ZIP_TYPES:
            return self._received(request, lambda: self._raw(request, name))
        if kind in UNNAMED_TYPES:
            return self._received(request, lambda: self._unnamed(request, name))
        raise _wrong_type(kind)

    def _projects(self, request: UploadRequest, name: str) -> Response:
        with uploads.body_deadline(request, self._settings.body_timeout):
            body = self._json(request)
        asked = schemas.submission(body)
        query = SubmitProjects(
            request=name,
            projects=tuple(url.strip() for url in asked.projects),
            auth_token=asked.auth_token or "",
            options=asked.options,
        )
        return self._client.ask(query, timeout=self._settings.submit_timeout)

    def _json(self, request: UploadRequest) -> bytes:
        limit = self._settings.max_json
        request.max_content_length = limit
        try:
            body = request.get_data(cache=False)
        except RequestEntityTooLarge as error:
            detail = f"the JSON body is larger than the limit of {limit} bytes"
            raise Problem(413, detail, limit=limit) from error
        if request.content_length is not None and len(body) < request.content_length:
            raise ClientDisconnected
        if not body:
            raise Problem(400, "the body is empty; send a JSON object with the list 'projects'")
        return body

    def _received(self, request: UploadRequest, take: Callable[[], Response]) -> Response:
        """``take`` with a place among the uploads of this process, and its spools closed afterwards."""
        if not self._places.acquire(blocking=False):
            raise Problem(
                429,
                f"{self._settings.max_uploads} uploads are being received already; try again in a moment",
                headers={"Retry-After": "5"},
                limit=self._settings.max_uploads,
            )
        try:
            return take()
        finally:
            request.close_spools()
            self._places.release()

    def _form(self, request: UploadRequest, name: str) -> Response:
        with uploads.body_deadline(request, self._settings.body_timeout):
            spool, filename, text = uploads.spool_form(request)
        return self._archive(spool, name, filename, schemas.options(text) if text.strip() else Options())

    def _raw(self, request: UploadRequest, name: str) -> Response:
        # A body that is one zip leaves no room for options: they come in the query string.
        text = request.args.get("options", "")
        options = schemas.options(text) if text.strip() else Options()
        with uploads.body_deadline(request, self._settings.body_timeout):
            spool = uploads.spool_body(request)
        return self._archive(spool, name, request.args.get("filename", ""), options)

    def _unnamed(self, request: UploadRequest, name: str) -> Response:
        with uploads.body_deadline(request, self._settings.body_timeout):
            is_zip = uploads.starts_like_zip(request)
        if not is_zip:
            raise _wrong_type(request.mimetype)
        return self._raw(request, name)

    def _archive(self, spool: Spool, name: str, filename: str, options: Options) -> Response:
        """Store and submit; a node that is replaced in between gets both again, under the same name.

        Raises:
            NodeUnavailable: the master changed every time; the client may send the same again.
        """
        query = SubmitArchive(
            request=name, sha256=spool.sha256, options=options, filename=filename[-MAX_FILENAME:]
        )
        end = time.monotonic() + self._settings.submit_timeout
        for number in range(TRIES):
            last = number == TRIES - 1
            spool.seek(0)
            try:
                self._client.store(
                    spool, size=spool.size, sha256=spool.sha256, timeout=end - time.monotonic()
                )
                response = self._client.ask(query, timeout=end - time.monotonic())
            except TransferRefused as error:
                raise _refused(error, self._settings.max_upload) from error
            except NodeUnavailable:
                if last or time.monotonic() >= end:
                    raise
                continue
            if not _upload_unknown(response):
                return response
        raise NodeUnavailable("the master changed while the archive was on its way")


def _upload_unknown(response: Response) -> bool:
    return response.status == 400 and _title.decode(response.body).get("title") == msgspec.Raw(
        msgspec.json.encode(UNKNOWN_UPLOAD)
    )


def _refused(error: TransferRefused, limit: int) -> Problem:
    if error.code == "too-large":
        return Problem(413, f"the node does not take the archive: {error}", limit=limit)
    if error.code == "disk":
        return Problem(507, f"the node cannot keep the archive: {error}")
    return Problem(502, f"the node did not take the archive: {error}", headers={"Retry-After": "1"})


def _wrong_type(kind: str) -> Problem:
    accepted = ["multipart/form-data", "application/json", "application/zip"]
    return Problem(
        415,
        f"a body of type {kind or '(none)'} is not taken; send one of {', '.join(accepted)}",
        accepted=accepted,
    )
