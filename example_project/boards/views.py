from dataclasses import asdict
from functools import partial
from typing import Any

from django import forms
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from .models import Board, Card


class CardForm(forms.ModelForm):
    class Meta:
        model = Card
        fields = ["title", "notes", "status"]


def board_context(board: Board, **more: Any) -> dict[str, Any]:
    """What the template shows. It calls `columns` after it has written the channel's position, so that
    a save between the two is not missed: it comes as a message.
    """
    return {
        "board": board,
        "channel": f"boards/{board.pk}",
        "columns": partial(columns, board),
        "statuses": Card.Status.choices,
        **more,
    }


def columns(board: Board) -> list[dict[str, Any]]:
    """The board's columns in their order, each with its cards."""
    cards = list(board.cards.all())
    return [
        {"status": value, "label": label, "cards": [c for c in cards if c.status == value]}
        for value, label in Card.Status.choices
    ]


def first_board(request: HttpRequest) -> HttpResponse:
    board = Board.objects.order_by("pk").first()
    return redirect(board) if board else redirect("home")


def board_detail(request: HttpRequest, board_id: int) -> HttpResponse:
    board = get_object_or_404(Board, pk=board_id)
    return render(request, "boards/detail.html", board_context(board))


@login_required
@require_POST
def add_card(request: HttpRequest, board_id: int) -> HttpResponse:
    """A plain form post. It publishes nothing itself; the signal of the save does."""
    board = get_object_or_404(Board, pk=board_id)
    form = CardForm(request.POST)
    wants_json = request.accepts("application/json") and not request.accepts("text/html")
    if form.is_valid():
        card = form.save(commit=False)
        card.board = board
        card.place(card.status, before=None)
        return JsonResponse(asdict(card.as_payload())) if wants_json else redirect(board)
    if wants_json:
        reason = " ".join(str(e) for errors in form.errors.values() for e in errors)
        return JsonResponse({"reason": reason}, status=400)
    return render(request, "boards/detail.html", board_context(board, form=form), status=400)
