#!/bin/sh
# Makes ./configure and Makefile.in from configure.ac and Makefile.am. Needs autoconf, automake and pkg-config.
# SPDX-License-Identifier: GPL-2.0-or-later
set -e
cd "$(dirname "$0")"
exec autoreconf --install "$@"
