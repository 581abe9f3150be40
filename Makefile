.DEFAULT_GOAL := help
.PHONY: help check test test-all fonts mini
PYTHON ?= python

# Fonts the embedded model was trained and is scored with (Debian packages; never shipped).
FONTS := fonts-adf-accanthis fonts-adf-baskervald fonts-adf-berenis fonts-adf-gillius \
  fonts-adf-mekanus fonts-adf-romande fonts-adf-universalis fonts-adf-verana fonts-anonymous-pro \
  fonts-cabin fonts-cantarell fonts-comfortaa fonts-courier-prime fonts-croscore \
  fonts-crosextra-caladea fonts-crosextra-carlito fonts-dejavu fonts-dosis fonts-ebgaramond \
  fonts-firacode fonts-freefont-ttf fonts-go fonts-hack fonts-hermit fonts-inconsolata \
  fonts-jetbrains-mono fonts-junicode fonts-jura fonts-lato fonts-league-spartan fonts-liberation \
  fonts-linuxlibertine fonts-lobster fonts-lobstertwo fonts-mononoki fonts-noto-core fonts-noto-mono \
  fonts-okolaks fonts-open-sans fonts-opendyslexic fonts-play fonts-prociono fonts-quicksand \
  fonts-roboto fonts-sil-andika fonts-sil-charis fonts-sil-gentium fonts-stix fonts-texgyre \
  fonts-urw-base35 fonts-vollkorn fonts-yanone-kaffeesatz

RUN ?= runs/mini

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

check: ## lint, format, types, direction of imports
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	lint-imports

test: ## the quick tests: offline, a few minutes, on several cores
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n auto --maxprocesses 4 --dist loadfile

test-all: ## every test: real 270M weights, browser, slow ones
	$(PYTHON) -m pytest -m ''

fonts: ## install the fonts training and evaluation use (Debian, as root)
	apt-get install -y --no-install-recommends $(FONTS)

mini: ## train the embedded model: about 21 h on 2 cores (seven stages, any can be resumed)
	vlm train encoder --out $(RUN)/encoder --minutes 50
	vlm train vlm $(RUN)/encoder/encoder.pt --out $(RUN)/joint --minutes 720 --encoder-share 0.65
	vlm train vlm $(RUN)/joint/reader.pt --out $(RUN)/finish --minutes 70 --rate 0.5 --encoder-share 0.5
	vlm train export $(RUN)/finish/reader.pt $(RUN)/finished --log $(RUN)/encoder/encoder.jsonl \
	  --log $(RUN)/joint/reader.jsonl --log $(RUN)/finish/reader.jsonl
	vlm train vlm $(RUN)/finished --out $(RUN)/again --minutes 118 --rate 0.7 --encoder-share 0.65 --replays 2 --seed 900
	vlm train export $(RUN)/again/reader.pt $(RUN)/again/exported --log $(RUN)/again/reader.jsonl --began-with $(RUN)/finished
	vlm train blend $(RUN)/finished $(RUN)/again/exported $(RUN)/mean
	vlm train vlm $(RUN)/mean --out $(RUN)/last --minutes 112 --rate 0.45 --encoder-share 0.65 --replays 1 --seed 1000
	vlm train export $(RUN)/last/reader.pt $(RUN)/last/exported --log $(RUN)/last/reader.jsonl --began-with $(RUN)/mean
	vlm train blend $(RUN)/mean $(RUN)/last/exported $(RUN)/halves --share 0.5
	vlm train vlm $(RUN)/halves --out $(RUN)/pictures --minutes 98 --rate 0.6 --encoder-share 0.65 \
	  --heads $(RUN)/last/reader.pt --seed 1100
	vlm train export $(RUN)/pictures/reader.pt $(RUN)/pictures/exported --log $(RUN)/pictures/reader.jsonl --began-with $(RUN)/halves
	vlm train blend $(RUN)/halves $(RUN)/pictures/exported $(RUN)/eighths
	vlm train vlm $(RUN)/eighths --out $(RUN)/letters --minutes 80 --rate 0.6 --encoder-share 0.65 \
	  --heads $(RUN)/pictures/reader.pt --seed 1200
	vlm train export $(RUN)/letters/reader.pt $(RUN)/letters/exported --log $(RUN)/letters/reader.jsonl --began-with $(RUN)/eighths
	vlm train blend $(RUN)/eighths $(RUN)/letters/exported vlm/assets/mini
	vlm eval card vlm/assets/mini
