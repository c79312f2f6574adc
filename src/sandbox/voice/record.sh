#!/usr/bin/env bash
# Records the lines of the simulated assistant: lines/<speaker>-<line>.opus, Ogg Opus, mono, one packet for 20 ms.
#
# Needs flite and opus-tools (Debian 12: apt-get install flite opus-tools). The same versions make the same files.
#
# Speakers: flite's voices slt (female) and rms (male), (c) Carnegie Mellon University, Language Technologies Institute. Their licence
# grants use, copying, modification and distribution without restriction and free of charge, as long as the code keeps its copyright
# notice (/usr/share/doc/flite/copyright, the last section). No code and no voice data of flite is distributed here.
#
# The sentences stand here and in `Line::text` (line.rs); a test compares them.
set -euo pipefail
cd "$(dirname "$0")"
mkdir -p lines

while IFS='|' read -r name text; do
    for speaker in slt rms; do
        wav=$(mktemp --suffix=.wav)
        flite -voice "$speaker" -t "$text" -o "$wav"
        opusenc --quiet --bitrate 16 --framesize 20 --downmix-mono --speech --comp 10 --serial 1 --padding 0 --max-delay 1000 \
            "$wav" "lines/$speaker-$name.opus"
        rm "$wav"
    done
done <<'LINES'
greeting|Hello! I am Ephemint's simulated assistant. Nothing you say leaves this machine.
heard_you|I heard you. I am a simulation and cannot understand words, but your microphone works.
heard_again|That came through clearly as well. A real model would answer you here.
listening|I am still listening. You can also interrupt me while I speak.
typed|Thanks, I got your text. A real model would now answer it.
typed_again|Your message arrived. My answers here are recorded lines.
tool_call|One moment, please. I will ask one of your tools.
tool_result|Thank you. Your tool has answered, and I have read its result.
short|All right.
long|Interrupt me whenever you like. I count slowly. One, two, three, four, five, six, seven, eight, nine, ten.
trouble|Sorry, something went wrong on purpose. This scenario simulates a failure.
goodbye|Thank you for trying the simulation. Goodbye!
LINES
