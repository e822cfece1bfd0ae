from django.contrib import admin

from .models import Message, Room


@admin.register(Room)
class RoomAdmin(admin.ModelAdmin):
    list_display = ["name", "slug", "topic"]
    prepopulated_fields = {"slug": ["name"]}
    search_fields = ["name", "slug"]


@admin.register(Message)
class MessageAdmin(admin.ModelAdmin):
    list_display = ["text", "room", "user", "sent_at"]
    list_filter = ["room"]
    search_fields = ["text"]
    readonly_fields = ["sent_at"]
