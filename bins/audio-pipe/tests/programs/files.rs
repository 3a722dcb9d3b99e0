//! `encode` and `decode`: exact lengths, other people's programs, bad input.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{audio_pipe, has, lag, outcome, power, read_wav, voice, write_wav};

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

#[test]
fn what_goes_in_comes_out_to_the_sample() {
    let dir = tempfile::tempdir().expect("a folder");
    let [wav, opus, back] = ["in.wav", "x.opus", "back.wav"].map(|name| dir.path().join(name));
    for samples in [0, 1, 959, 960, 48_000, 50_001] {
        let said = &voice(1.1)[..samples];
        write_wav(&wav, said, 48_000, 1);
        assert_eq!(outcome(&mut audio_pipe(["encode", text(&wav), text(&opus)])), (Some(0), String::new()));
        assert_eq!(outcome(&mut audio_pipe(["decode", text(&opus), text(&back)])), (Some(0), String::new()));
        let heard = read_wav(&back);
        assert_eq!(heard.len(), samples);
        if samples > 40_000 {
            let (lag, likeness) = lag(said, &heard);
            assert!(lag == 0 && likeness > 0.95, "{samples} samples lag by {lag}, alike {likeness}");
        }
    }
}

#[test]
fn stereo_at_44100_hz_through_pipes_keeps_its_length_and_place() {
    let dir = tempfile::tempdir().expect("a folder");
    let [wav, back] = ["in.wav", "back.wav"].map(|name| dir.path().join(name));
    let said = voice(1.0);
    // Every sample of 44.1 kHz is the one of 48 kHz that is nearest to it; both channels are alike.
    let stereo: Vec<f32> = (0..88_200).map(|n| said[n / 2 * 480 / 441]).collect();
    write_wav(&wav, &stereo, 44_100, 2);

    let mut encode =
        audio_pipe(["encode", "--mono"]).stdin(File::open(&wav).expect("a file")).stdout(Stdio::piped()).spawn();
    let opus = encode.as_mut().expect("encode").stdout.take().expect("a pipe");
    // Through two more pipes: the WAV on the way has a header without a length.
    let mut decode = audio_pipe(["decode"]).stdin(opus).stdout(Stdio::piped()).spawn();
    let streamed = decode.as_mut().expect("decode").stdout.take().expect("a pipe");
    let mut again = audio_pipe(["encode", "--bitrate", "64k"]).stdin(streamed).stdout(Stdio::piped()).spawn();
    let opus = again.as_mut().expect("encode").stdout.take().expect("a pipe");
    let code = outcome(audio_pipe(["decode", "-", text(&back)]).stdin(opus));
    for child in [encode, decode, again] {
        assert!(child.expect("a program").wait().expect("an end").success());
    }

    assert_eq!(code, (Some(0), String::new()));
    let heard = read_wav(&back);
    let (lag, likeness) = lag(&said, &heard);
    assert_eq!((heard.len(), lag), (48_000, 0));
    assert!(likeness > 0.9, "alike {likeness}");
}

#[test]
fn two_channels_stay_two_and_apart_at_any_rate() {
    let dir = tempfile::tempdir().expect("a folder");
    let [wav, opus, back] = ["in.wav", "x.opus", "back.raw"].map(|name| dir.path().join(name));
    let said = voice(1.0);
    for (rate, args) in [(48_000, &[][..]), (44_100, &["--music"]), (96_000, &["--music", "--bitrate", "96k"])] {
        // All on the left.
        let stereo = (0..rate as usize).flat_map(|n| [said[n * 480 / (rate as usize / 100)], 0.0]);
        write_wav(&wav, &stereo.collect::<Vec<_>>(), rate, 2);
        let encode = ["encode", text(&wav), text(&opus)];
        assert_eq!(outcome(&mut audio_pipe(encode.into_iter().chain(args.iter().copied()))), (Some(0), String::new()));
        assert_eq!(outcome(&mut audio_pipe(["decode", "--raw=f32le", text(&opus), text(&back)])).0, Some(0));
        let bytes = std::fs::read(&back).expect("a file");
        let sound: Vec<_> = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        assert_eq!(sound.len(), 96_000, "{rate} Hz");
        let [left, right] = [0, 1].map(|n| sound.iter().skip(n).step_by(2).copied().collect::<Vec<f32>>());
        let (lag, likeness) = lag(&said, &left);
        assert!(lag == 0 && likeness > 0.9, "{rate} Hz lag by {lag}, alike {likeness}");
        assert!(power(&right) < power(&left) / 30.0, "{rate} Hz: {} {}", power(&left), power(&right));
        if !args.is_empty() && has("opusinfo", "stereo that other programs read") {
            let output = Command::new("opusinfo").arg(&opus).output().expect("opusinfo");
            let told = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success() && told.contains("Channels: 2"), "{told}");
        }
    }
}

#[test]
fn bare_samples_are_read_and_written() {
    let dir = tempfile::tempdir().expect("a folder");
    let [raw, opus, back] = ["in.raw", "x.opus", "back.raw"].map(|name| dir.path().join(name));
    let bytes: Vec<u8> = voice(0.5).iter().flat_map(|s| s.to_le_bytes()).collect();
    std::fs::write(&raw, bytes).expect("a file");

    assert_eq!(outcome(&mut audio_pipe(["encode", "--raw=f32", text(&raw), text(&opus)])).0, Some(0));
    for (format, size) in [("--raw=s16le", 2), ("--raw=f32le", 4)] {
        assert_eq!(outcome(&mut audio_pipe(["decode", format, text(&opus), text(&back)])).0, Some(0));
        assert_eq!(std::fs::metadata(&back).expect("a file").len(), 24_000 * size, "{format}");
    }
}

#[test]
fn other_programs_read_what_we_write_and_we_read_what_they_write() {
    let test = "Ogg Opus against opusenc, opusdec and ffmpeg";
    let dir = tempfile::tempdir().expect("a folder");
    let [wav, ours, theirs, back] = ["in.wav", "ours.opus", "theirs.opus", "back.wav"].map(|n| dir.path().join(n));
    let said = &voice(1.5)[..70_001];
    write_wav(&wav, said, 48_000, 1);
    assert_eq!(outcome(&mut audio_pipe(["encode", text(&wav), text(&ours)])).0, Some(0));
    let check = |what: &str| {
        let heard = read_wav(&back);
        let (lag, likeness) = lag(said, &heard);
        assert_eq!((heard.len(), lag), (said.len(), 0), "{what}");
        assert!(likeness > 0.9, "{what}: alike {likeness}");
    };
    let run = |program: &str, args: &[&str]| {
        let status = Command::new(program).args(args).stdin(Stdio::null()).stderr(Stdio::null()).status();
        assert!(status.expect("the program starts").success(), "{program} {args:?}");
    };
    if has("opusdec", test) && has("opusenc", test) {
        run("opusdec", &["--quiet", "--no-dither", "--rate", "48000", text(&ours), text(&back)]);
        check("opusdec");
        run("opusenc", &["--quiet", text(&wav), text(&theirs)]);
        assert_eq!(outcome(&mut audio_pipe(["decode", text(&theirs), text(&back)])).0, Some(0));
        check("opusenc");
    }
    if has("ffmpeg", test) {
        // Bitexact: the header has samples alone behind it.
        let plain = ["-ar", "48000", "-map_metadata", "-1", "-bitexact"];
        run("ffmpeg", &[&["-y", "-loglevel", "error", "-i", text(&ours)], &plain[..], &[text(&back)]].concat());
        check("ffmpeg, which reads");
        run("ffmpeg", &["-y", "-loglevel", "error", "-i", text(&wav), "-c:a", "libopus", text(&theirs)]);
        assert_eq!(outcome(&mut audio_pipe(["decode", text(&theirs), text(&back)])).0, Some(0));
        check("ffmpeg, which writes");
    }
}

#[test]
fn streams_behind_each_other_are_played_behind_each_other() {
    let dir = tempfile::tempdir().expect("a folder");
    let [wav, opus, back] = ["in.wav", "x.opus", "back.wav"].map(|name| dir.path().join(name));
    write_wav(&wav, &voice(0.5), 48_000, 1);
    let once = || audio_pipe(["encode", text(&wav)]).output().expect("encode").stdout;
    std::fs::write(&opus, [once(), once()].concat()).expect("a file");

    assert_eq!(outcome(&mut audio_pipe(["decode", text(&opus), text(&back)])), (Some(0), String::new()));

    assert_eq!(read_wav(&back).len(), 48_000);
}

#[test]
fn a_page_that_is_missing_or_damaged_is_made_up_and_told_of() {
    let dir = tempfile::tempdir().expect("a folder");
    let [wav, opus, bad, back] = ["in.wav", "x.opus", "bad.opus", "back.wav"].map(|name| dir.path().join(name));
    let said = voice(2.0);
    write_wav(&wav, &said, 48_000, 1);
    assert_eq!(outcome(&mut audio_pipe(["encode", text(&wav), text(&opus)])).0, Some(0));
    let good = std::fs::read(&opus).expect("a file");
    let pages: Vec<usize> = (0..good.len() - 4).filter(|at| &good[*at..*at + 4] == b"OggS").collect();
    let missing = [&good[..pages[5]], &good[pages[6]..]].concat();
    let mut damaged = good.clone();
    damaged[pages[5] + 100] ^= 0x55;
    let mut headless = good.clone();
    headless[pages[5]] = b'X';
    let with_note = [&good[..pages[5]], b"this is OggX no page", &good[pages[5]..]].concat();
    for (what, bytes) in [("missing", missing), ("damaged", damaged), ("headless", headless), ("note", with_note)] {
        std::fs::write(&bad, bytes).expect("a file");
        let (code, told) = outcome(&mut audio_pipe(["decode", text(&bad), text(&back)]));
        assert!(code == Some(0) && (told.contains("is damaged in") || what == "note"), "{what}: {code:?} {told}");
        let heard = read_wav(&back);
        assert_eq!(heard.len(), said.len(), "{what}");
        let (lag, likeness) = lag(&said[60_000..], &heard[60_000..]);
        assert!(lag == 0 && likeness > 0.9, "{what}: what comes behind it lags by {lag}, alike {likeness}");
    }
}

#[test]
fn a_file_that_was_cut_short_is_played_and_told_of() {
    let dir = tempfile::tempdir().expect("a folder");
    let [wav, opus, back] = ["in.wav", "x.opus", "back.wav"].map(|name| dir.path().join(name));
    write_wav(&wav, &voice(2.0), 48_000, 1);
    assert_eq!(outcome(&mut audio_pipe(["encode", text(&wav), text(&opus)])).0, Some(0));
    let good = std::fs::read(&opus).expect("a file");
    std::fs::write(&opus, &good[..good.len() / 2]).expect("a file");

    let (code, told) = outcome(&mut audio_pipe(["decode", text(&opus), text(&back)]));

    assert!(code == Some(0) && told.contains("x.opus ends without its last page"), "{code:?} {told}");
    let heard = read_wav(&back).len();
    assert!((24_000..96_000).contains(&heard), "{heard} samples");
}

#[test]
fn bad_input_is_one_clear_sentence_and_the_right_code() {
    let dir = tempfile::tempdir().expect("a folder");
    let [wav, text_file, none] = ["in.wav", "note.wav", "none.wav"].map(|name| dir.path().join(name));
    write_wav(&wav, &voice(0.2), 48_000, 1);
    std::fs::write(&text_file, "this is a note and not a sound").expect("a file");
    let (wav, note, none, folder) = (text(&wav), text(&text_file), text(&none), text(dir.path()));
    let rows: [(&[&str], i32, &str); 10] = [
        (&["encode", wav, wav], 64, "it can't be written as well"),
        (&["encode", note, "-"], 65, "not a WAV file: it does not begin with a RIFF WAVE header"),
        (&["capture", "--input", note], 65, "not a WAV file: it does not begin with a RIFF WAVE header"),
        (&["decode", note, "-"], 65, "not an Ogg file"),
        (&["decode", wav, "-"], 65, "not an Ogg file"),
        (&["encode", none, "-"], 66, "No such file"),
        (&["encode", folder, "-"], 66, "irectory"),
        (&["encode", wav, "/dev/full"], 74, "No space left on device"),
        (&["encode", wav, "/dev/null/x"], 73, "create /dev/null/x"),
        (&["encode", "--frame-ms", "15", wav, "-"], 64, "not one of"),
    ];
    for (args, code, sentence) in rows {
        let (got, said) = outcome(&mut audio_pipe(args.iter().copied()));
        assert_eq!(got, Some(code), "{args:?}: {said}");
        assert!(said.contains(sentence), "{args:?}: {said}");
        assert!(code == 64 || said.lines().count() == 1, "{args:?}: {said}");
    }
}

#[test]
fn damaged_files_are_refused_or_played_but_never_a_bug() {
    let dir = tempfile::tempdir().expect("a folder");
    let [wav, opus, bad] = ["in.wav", "x.opus", "bad"].map(|name| dir.path().join(name));
    write_wav(&wav, &voice(0.1), 48_000, 1);
    assert_eq!(outcome(&mut audio_pipe(["encode", text(&wav), text(&opus)])).0, Some(0));
    let mut random = 1_u64;
    let mut next = move || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize
    };
    for (command, file) in [("decode", &opus), ("encode", &wav)] {
        let good = std::fs::read(file).expect("a file");
        for round in 0..12 {
            let mut bytes = good.clone();
            match round % 3 {
                0 => bytes.truncate(next() % good.len()),
                1 => (0..4).for_each(|_| bytes[next() % good.len().min(200)] = next() as u8),
                _ => bytes.iter_mut().for_each(|byte| *byte = next() as u8),
            }
            std::fs::write(&bad, bytes).expect("a file");
            let (code, said) = outcome(&mut audio_pipe([command, text(&bad), "/dev/null"]));
            assert!(matches!(code, Some(0 | 65)), "{command}, round {round}: {code:?} {said}");
        }
    }
}

#[test]
fn a_reader_that_has_enough_is_no_error() {
    let dir = tempfile::tempdir().expect("a folder");
    let wav = dir.path().join("in.wav");
    write_wav(&wav, &voice(20.0), 48_000, 1);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    assert_eq!(outcome(audio_pipe(["encode", text(&wav)]).stdout(writer)), (Some(0), String::new()));
}
