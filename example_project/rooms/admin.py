from django.contrib import admin

from .models import Line, Room


@admin.register(Room)
class RoomAdmin(admin.ModelAdmin):
    list_display = ["name", "slug", "topic"]
    prepopulated_fields = {"slug": ["name"]}
    search_fields = ["name", "slug"]


@admin.register(Line)
class LineAdmin(admin.ModelAdmin):
    list_display = ["text", "room", "user", "said_at"]
    list_filter = ["room"]
    search_fields = ["text"]
    readonly_fields = ["said_at"]
