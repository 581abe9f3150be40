"""How people ask: wordings by kind of question, data only.

``{subject}`` is what is asked of (an item, a form's label); ``{a}`` and ``{b}`` are its two parts
where a subject is written "a / b".
"""

from __future__ import annotations

WHOLE = (
    "What does it say?",
    "What does the text say?",
    "What does this say?",
    "Read the text.",
    "Read this.",
    "Read this aloud.",
    "Read the page.",
    "Transcribe the text.",
    "Transcribe this image.",
    "Transcribe all text.",
    "Transcribe the document.",
    "Please transcribe all text.",
    "What is written here?",
    "What is written in the image?",
    "What is written on it?",
    "What text is in this image?",
    "Write down everything you can read.",
    "Extract the text.",
    "OCR",
    "What can you read?",
    "What does the sign say?",
    "What does the image say?",
)
LINE = ("What does {} say?", "Read {}.", "What is on {}?", "Transcribe {}.", "What is written on {}?")
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")
COUNT_LINES = ("How many lines are there?", "How many lines of text are there?", "Count the lines.")
CONTAINS = (
    'Is the word "{}" in the image?',
    'Does it say "{}"?',
    'Can you see the word "{}"?',
    'Is "{}" written here?',
)
WHICH_IMAGE = (
    'In which image is the word "{}"?',
    'Which image says "{}"?',
    'Which of the two images contains "{}"?',
    'In which image does it say "{}"?',
)
OF_IMAGE = ("In the {} image: {}", "{} image: {}", "Look at the {} image. {}")
CONFIRM = ("Is the {label} {value}?", "Does it say that the {label} is {value}?")
# Keys whose name reads well in those, and that name.
CONFIRMED = {
    "total": "total", "subtotal": "subtotal", "tax": "tax", "date": "date", "time": "time",
    "due_date": "due date", "phone": "phone number", "email": "email address", "website": "website",
    "address": "address", "invoice_number": "invoice number", "order_number": "order number",
    "table": "table number", "title": "title", "name": "name", "seat": "seat", "gate": "gate",
    "platform": "platform", "code": "code", "weight": "weight", "expiry": "expiry date", "room": "room",
}  # fmt: skip

WORDINGS: dict[str, tuple[str, ...]] = {
    "shop": (
        "What is the name of the shop?", "Which shop is this from?", "What is the store called?",
        "Where was this bought?", "Who is the seller?",
    ),
    "company": ("What is the company's name?", "Which company is this?", "What company is it from?"),
    "address": ("What is the address?", "What address is given?", "Where is it? Give the street address."),
    "phone": (
        "What is the phone number?", "What is the telephone number?", "Which number can I call?",
        "Give me the phone number.",
    ),
    "email": ("What is the email address?", "What is the e-mail?", "Which email address is given?"),
    "website": ("What is the website?", "What is the web address?", "Which website is given?"),
    "date": ("What is the date?", "What date is on it?", "When was it?", "When is it dated?"),
    "time": ("What is the time?", "At what time?", "What time is given?", "What time is it for?"),
    "due_date": ("When is it due?", "What is the due date?", "By when must it be paid?"),
    "total": (
        "What is the total?", "How much is the total?", "What is the total amount?", "What's the total?",
        "How much is it in total?", "How much has to be paid?", "How much did it cost altogether?",
    ),
    "subtotal": ("What is the subtotal?", "How much is the subtotal?"),
    "tax": ("How much is the tax?", "What is the tax?", "How much VAT is there?", "What is the VAT?"),
    "discount": ("How much is the discount?", "What is the discount?"),
    "paid": ("How much was paid?", "What amount was paid?"),
    "change": ("How much change was given?", "What is the change?"),
    "payment": ("How was it paid?", "What is the payment method?", "Cash or card?"),
    "invoice_number": ("What is the invoice number?", "Which invoice is this?", "Give the invoice number."),
    "order_number": ("What is the order number?", "Which order number is given?"),
    "receipt_number": ("What is the receipt number?", "Which receipt number is given?"),
    "customer_number": ("What is the customer number?", "Which customer number is given?"),
    "table": ("Which table was it?", "What is the table number?"),
    "cashier": ("Who was the cashier?", "Who served?", "What is the cashier's name?"),
    "price": (
        "How much is the {subject}?", "What does the {subject} cost?", "What is the price of {subject}?",
        "Price of {subject}?", "How much does {subject} cost?", "How much is {subject}?",
    ),
    "quantity": ("How many {subject}?", "What quantity of {subject}?", "How many {subject} were bought?"),
    "item_count": ("How many items are there?", "How many different items are listed?", "Count the items."),
    "name": ("What is the name?", "What is the person's name?", "Whose is it?", "Who is it?"),
    "job": ("What is the job title?", "What is the person's job?", "What does the person do?"),
    "sender": ("Who sent it?", "Who is it from?", "Who wrote it?", "Who is the sender?"),
    "recipient": ("Who is it addressed to?", "Who is the recipient?", "Who is it for?"),
    "subject_line": ("What is the subject?", "What is it about?", "What is the subject line?"),
    "signed_by": ("Who signed it?", "Whose signature is it?"),
    "city": ("Which city?", "What city is given?", "In which city?"),
    "country": ("Which country?", "What country is given?"),
    "birth_date": ("What is the date of birth?", "When was the person born?"),
    "field": (
        "What is the {subject}?", "What does it say for {subject}?", "What is entered for {subject}?",
        "{subject}?", "Give the value of {subject}.",
    ),
    "cell": (
        "What is the {b} of {a}?", "What is the {b} for {a}?", "In the row {a}, what is the {b}?",
        "{a}: what is the {b}?",
    ),
    "title": ("What is the title?", "What is the heading?", "What is it called?"),
    "heading": ("What is the heading?", "What does the heading say?", "What is the title?"),
    "box": ("What does the text in the box say?", "What is written in the box?", "Read the text in the box."),
    "gate": ("Which gate?", "What is the gate?", "From which gate does it leave?"),
    "seat": ("Which seat?", "What is the seat?", "What is the seat number?"),
    "platform": ("Which platform?", "What platform does it leave from?"),
    "train": ("Which train?", "What is the train number?"),
    "flight": ("Which flight?", "What is the flight number?"),
    "from": ("Where does it leave from?", "Where does the journey start?", "From where?"),
    "to": ("Where does it go to?", "What is the destination?", "To where?"),
    "departure": ("When does it leave?", "What is the departure time?", "At what time does it depart?"),
    "arrival": ("When does it arrive?", "What is the arrival time?"),
    "expiry": ("When does it expire?", "What is the expiry date?", "Best before when?"),
    "weight": ("What is the weight?", "How much does it weigh?", "What is the net weight?"),
    "ingredients": ("What are the ingredients?", "What is in it?"),
    "size": ("What is the size?", "Which size is it?"),
    "code": ("What is the code?", "What code is given?", "Which code is printed?"),
    "room": ("Which room?", "What is the room number?"),
    "opening_hours": ("What are the opening hours?", "When is it open?"),
    "event": ("What is the event?", "What is it for?", "Which event is it?"),
    "place": ("Where is it?", "Where does it take place?", "What is the place?"),
    "warning": ("What does the warning say?", "What is the warning?", "What does the sign warn of?"),
    "fine": ("How much is the fine?", "What is the fine?"),
    "speed_limit": ("What is the speed limit?", "How fast may you drive?"),
    "color": (
        "What color is the {subject}?", "What colour is the {subject}?",
        "Which color does the {subject} have?", "What is the color of the {subject}?",
    ),
    "shape_of_color": (
        "What shape is {subject}?", "Which shape is {subject}?", "What is the {subject} shape?",
        "What shape is the {subject} object?",
    ),
    "shape": ("What shape is this?", "What shape is it?", "Which shape is shown?", "What is in the picture?"),
    "count": (
        "How many {subject} are there?", "Count the {subject}.", "How many {subject} do you see?",
        "How many {subject} are in the image?", "What is the number of {subject}?",
    ),
    "left_of": (
        "What is to the left of {subject}?", "What is left of {subject}?",
        "Which shape is to the left of {subject}?",
    ),
    "right_of": (
        "What is to the right of {subject}?", "What is right of {subject}?",
        "Which shape is to the right of {subject}?",
    ),
    "above": ("What is above {subject}?", "Which shape is above {subject}?", "What is over {subject}?"),
    "below": ("What is below {subject}?", "Which shape is below {subject}?", "What is under {subject}?"),
    "where": (
        "Where is {subject}?", "In which part of the image is {subject}?",
        "In which corner is {subject}, or is it in the center?", "What is the position of {subject}?",
    ),
    "biggest": (
        "Which shape is the biggest?", "What is the biggest shape?", "What is the largest shape?",
        "Which object is the largest?",
    ),
    "smallest": (
        "Which shape is the smallest?", "What is the smallest shape?", "Which object is the smallest?",
        "Which is the smallest?",
    ),
    "is_there": (
        "Is there {subject}?", "Do you see {subject}?", "Is there {subject} in the image?",
        "Can you see {subject}?",
    ),
    "is_left_of": ("Is {a} to the left of {b}?", "Is {a} left of {b}?"),
    "is_right_of": ("Is {a} to the right of {b}?", "Is {a} right of {b}?"),
    "is_above": ("Is {a} above {b}?", "Is {a} higher up than {b}?"),
    "is_below": ("Is {a} below {b}?", "Is {a} under {b}?"),
    "largest": (
        "Which is the largest?", "Which one is the largest?", "Which has the highest value?",
        "What has the highest value?", "Which is the highest?", "Which one is the biggest?",
    ),
    "lowest": (
        "Which is the smallest?", "Which one is the smallest?", "Which has the lowest value?",
        "What has the lowest value?", "Which is the lowest?", "What is the smallest?",
    ),
    "larger_of": (
        "Which is larger, {a} or {b}?", "Which is higher: {a} or {b}?",
        "Which has the higher value, {a} or {b}?", "{a} or {b}: which is larger?",
    ),
    "value": (
        "What is the value of {subject}?", "What is the value for {subject}?", "How much is {subject}?",
        "What value does {subject} have?", "Give the value of {subject}.",
    ),
    "label_of": (
        "Which one has the value {subject}?", "What has the value {subject}?", "Which entry is {subject}?",
    ),
    "chart_kind": (
        "What kind of chart is this?", "What type of chart is it?", "Which kind of chart is shown?",
    ),
    "admission": ("How much is a ticket?", "What is the admission?", "How much does it cost to get in?"),
    "appointment": ("What is at {subject}?", "What happens at {subject}?", "What is planned for {subject}?"),
    "start": ("When does {subject} start?", "At what time is {subject}?", "When is {subject}?"),
    "end": ("When does {subject} end?", "Until when is {subject}?"),
    "entry_count": ("How many entries are there?", "How many appointments are listed?"),
    "room_of": ("In which room is {subject}?", "Where is {subject}?", "Which room is {subject} in?"),
    "departure_of": (
        "When does the train to {subject} leave?", "What is the departure time for {subject}?",
        "When is the departure to {subject}?", "{subject}: at what time?",
    ),
    "arrival_of": ("When does the train from {subject} arrive?", "What is the arrival time from {subject}?"),
    "platform_of": ("Which platform is it for {subject}?", "What is the platform for {subject}?"),
    "gate_of": ("Which gate is it for {subject}?", "What is the gate for {subject}?"),
    "train_of": ("Which line is it for {subject}?", "What is the train for {subject}?"),
    "hours_on": (
        "What are the opening hours on {subject}?", "When is it open on {subject}?",
        "{subject}: what are the hours?",
    ),
    "author": ("Who is the author?", "Who wrote it?", "Who said it?", "Who is it by?"),
    "quote": ("What is the quote?", "What does the quote say?"),
    "box_of": (
        "What does the {subject} box say?", "What is written in the {subject} box?",
        "Read the text in the {subject} box.",
    ),
    "box_count": ("How many boxes are there?", "Count the boxes."),
    "button_of": ("What does the {subject} button say?", "What is on the {subject} button?"),
    "button_color": ("What colour is the {subject} button?", "Which color is the button {subject}?"),
    "row_count": ("How many rows are there below the header?", "How many rows of data does the table have?"),
    "column_count": ("How many columns does the table have?", "Count the columns."),
    "list_item": (
        "What is number {subject} on the list?", "What is item {subject}?",
        "What stands at number {subject}?",
    ),
    "ticked": ("Is {subject} ticked?", "Is the box of {subject} checked?", "Is {subject} done?"),
    "ticked_count": ("How many boxes are ticked?", "How many entries are checked?"),
    "contact": ("Who is the chat with?", "What is the contact's name?"),
    "message": ("What does the message say?", "What is the message?"),
    "first_message": ("What is the first message?", "What does the first message say?"),
    "last_message": ("What is the last message?", "What does the last message say?"),
    "message_count": ("How many messages are there?", "Count the messages."),
    "sent_time": ('When was "{subject}" sent?', 'At what time was "{subject}" written?'),
    "error": ("What is the error message?", "What went wrong?", "What does the error or warning say?"),
    "setting": ("What is {subject} set to?", "What is the value of {subject}?"),
    "month": ("Which month is it?", "What month does the calendar show?"),
    "weekday": ("What day of the week is the {subject}?", "Which weekday is day {subject}?"),
    "marked_day": ("Which day is marked?", "Which day is highlighted?"),
    "recipient_address": ("What is the recipient's address?", "To which address is it sent?"),
    "street": ("What is the name of the street?", "Which street is this?"),
    "door": ("What is the room for?", "What is behind the door?"),
    "trade": ("What kind of shop is it?", "What does the shop sell?"),
    "sticker": ("What does the sticker say?", "What is on the sticker?"),
    "plate": ("What is the number plate?", "What is the licence plate?", "Read the number plate."),
    "item": ("What is on offer?", "What is sold?", "Which product is it?"),
    "old_price": ("What was the price before?", "What was the old price?"),
    "sign": ("What is written in large letters?", "What do the large letters say?"),
    "direction": ("Which way is {subject}?", "Is {subject} to the left or to the right?"),
    "distance": ("How far is it to {subject}?", "What is the distance to {subject}?"),
    "unit_price": (
        "What is the unit price of {subject}?", "How much does one {subject} cost?",
        "What is the price of one {subject}?",
    ),
    "line_total": (
        "How much do the {subject} come to?", "What is the amount for {subject}?",
        "How much was paid for {subject} in all?",
    ),
    "only_price": ("What is the price?", "How much does it cost?", "How much is it?"),
    "status": ("What is the status of the payment?", "What is the status of the transaction?"),
    "note": ("What does the note say?", "What note is on it?"),
    "description": ("How is {subject} described?", "What does it say under {subject}?"),
    "share": ("What percentage is {subject}?", "How much {subject} is in it?"),
    "care": ("How should it be washed?", "What are the care instructions?"),
    "product": ("What is the product?", "What product is it?", "What is it called?"),
    "boarding": ("When does boarding begin?", "What is the boarding time?", "At what time is boarding?"),
}  # fmt: skip

# What a page tells under these keys also answers a question on the first, in the words of some.
ANSWERS_TOO: dict[str, frozenset[str]] = {
    "total": frozenset({"fine", "admission", "price", "only_price", "line_total", "paid"}),
    "price": frozenset({"only_price", "admission"}),
    "ingredients": frozenset({"share", "field", "quantity", "care"}),
    "address": frozenset({"street", "place", "recipient_address", "city"}),
    "expiry": frozenset({"date", "due_date", "end"}),
    "due_date": frozenset({"date", "expiry"}),
    "departure": frozenset({"departure_of", "time", "start"}),
    "arrival": frozenset({"arrival_of", "time", "end"}),
    "platform": frozenset({"platform_of"}),
    "gate": frozenset({"gate_of"}),
    "opening_hours": frozenset({"hours_on", "time"}),
    "job": frozenset({"trade"}),
    "table": frozenset({"row_count", "cell"}),
}

# Keys one may ask of any document; where the page tells none, the answer is that it is not there.
ABSENT_KEYS = (
    *("address", "phone", "email", "website", "due_date", "total", "subtotal", "tax", "discount", "change"),
    *("invoice_number", "order_number", "receipt_number", "customer_number", "table", "cashier", "job"),
    *("birth_date", "gate", "seat", "platform", "flight", "departure", "arrival", "expiry", "weight"),
    *("ingredients", "opening_hours", "fine", "speed_limit", "price", "quantity", "field"),
)
