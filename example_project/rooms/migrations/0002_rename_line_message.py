from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("rooms", "0001_initial")]

    operations = [
        migrations.RenameModel("Line", "Message"),
        migrations.RenameField("Message", "said_at", "sent_at"),
        migrations.RenameIndex(
            "Message", old_name="rooms_line_newest", new_name="rooms_message_newest"
        ),
        migrations.AlterField(
            "Message",
            "key",
            models.CharField(
                blank=True, help_text="The page's own id of the message.", max_length=64
            ),
        ),
        migrations.AlterField(
            "Message",
            "room",
            models.ForeignKey(on_delete=models.CASCADE, related_name="messages", to="rooms.room"),
        ),
    ]
