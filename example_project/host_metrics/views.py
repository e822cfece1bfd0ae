from django.http import HttpRequest, HttpResponse
from django.shortcuts import render


def host_metrics(request: HttpRequest) -> HttpResponse:
    return render(request, "host_metrics/detail.html")
