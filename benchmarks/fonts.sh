#!/bin/sh
# The fonts that benchmarks/glyphs.py draws letters with: Debian 12 and later, or Ubuntu; run as root. About 200 MB on disk.
# Families with Latin capitals only; every package is one that Debian's main section ships, so the set can be made again.
set -eu
apt-get update -q
apt-get install -y -q --no-install-recommends \
    fonts-adf-accanthis fonts-adf-baskervald fonts-adf-berenis fonts-adf-gillius fonts-adf-ikarius fonts-adf-irianis \
    fonts-adf-libris fonts-adf-mekanus fonts-adf-oldania fonts-adf-romande fonts-adf-solothurn fonts-adf-switzera \
    fonts-adf-tribun fonts-adf-universalis fonts-adf-verana fonts-aenigma fonts-agave fonts-apropal \
    fonts-averia-sans-gwf fonts-averia-serif-gwf fonts-beteckna fonts-breip fonts-bwht fonts-cabin fonts-cabinsketch \
    fonts-cantarell fonts-clear-sans fonts-comfortaa fonts-comic-neue fonts-crosextra-caladea fonts-crosextra-carlito \
    fonts-dancingscript fonts-dejavu fonts-dkg-handwriting fonts-dosis fonts-dustin fonts-ebgaramond fonts-eurofurence \
    fonts-f500 fonts-fantasque-sans fonts-femkeklaver fonts-freefont-ttf fonts-georgewilliams fonts-gfs-artemisia \
    fonts-gfs-didot fonts-gfs-neohellenic fonts-hack fonts-havana fonts-humor-sans fonts-inconsolata fonts-isabella \
    fonts-joscelyn fonts-junction fonts-junicode fonts-jura fonts-karla fonts-kaushanscript fonts-klaudia-berenika \
    fonts-kristi fonts-lato fonts-league-spartan fonts-leckerli-one fonts-levien-museum fonts-levien-typoscript \
    fonts-liberation fonts-lindenhill fonts-linuxlibertine fonts-lmodern fonts-lobster fonts-lobstertwo fonts-manrope \
    fonts-millimetre fonts-monofur fonts-mononoki fonts-okolaks fonts-oldstandard fonts-open-sans fonts-play \
    fonts-quicksand fonts-roboto-slab fonts-roboto-unhinted fonts-rufscript fonts-sil-andika fonts-sil-charis \
    fonts-sil-gentiumplus fonts-sjfonts fonts-texgyre fonts-tomsontalks fonts-ubuntu-title fonts-urw-base35 \
    fonts-vollkorn fonts-yrsa-rasa
