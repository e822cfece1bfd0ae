from django.http import HttpRequest, HttpResponse
from django.shortcuts import render


def host_detail(request: HttpRequest) -> HttpResponse:
    return render(request, "host/detail.html")
