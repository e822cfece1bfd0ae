"""The chat of ``docs/howto/add-to-your-own-consumer.md``, made of the page's own code.

``step(n)`` is the class ``ChatConsumer`` as step n has it, 0 being where the page begins. The site serves
every step at ``/ws/chat/<n>/<room>/``.
"""
