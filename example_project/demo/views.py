from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from boards.models import Board


def home(request: HttpRequest) -> HttpResponse:
    return render(request, "demo/home.html", {"board": Board.objects.order_by("pk").first()})
