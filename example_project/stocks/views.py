from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from .quotes import STOCKS


def ticker(request: HttpRequest) -> HttpResponse:
    return render(request, "stocks/ticker.html", {"stocks": STOCKS})
