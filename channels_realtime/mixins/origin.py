"""Pages that may connect to a consumer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from ..access.origins import OriginPolicy
from ..config import OriginRule
from ..endpoints.handshake import Refusal, Scope, origin_refusal
from ..nodes.node import Node
from .base import ConsumerMixin


class OriginMixin(ConsumerMixin):
    """Refuses handshakes of foreign pages with 403, before the consumer hears of them."""

    allowed_origins: ClassVar[Iterable[str] | OriginRule | None] = None
    """As the setting ``ALLOWED_ORIGINS``; None for what that says."""

    allow_missing_origin: ClassVar[bool] = True
    """Whether a client without ``Origin`` passes, where ``allowed_origins`` is the class's own."""

    _realtime_origins: ClassVar[OriginPolicy | None] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        allowed = cls.allowed_origins
        if isinstance(vars(cls).get("allowed_origins"), staticmethod):
            allowed = vars(cls)["allowed_origins"].__func__
        cls._realtime_origins = (
            None
            if allowed is None
            else OriginPolicy.of(
                allowed,
                f"{cls.__qualname__}.allowed_origins",
                allow_missing=cls.allow_missing_origin,
            )
        )

    def _realtime_refusal(self, node: Node, scope: Scope) -> Refusal | None:
        refused = origin_refusal(node, scope, self._realtime_origins)
        return refused or super()._realtime_refusal(node, scope)
