//! The page about a call: one file, nothing to load, nothing to run.

use std::fmt::Write;

use ::report::escaped;

use super::{Pair, Report, plot, table};

const STYLE: &str = include_str!("page.css");

/// The whole page.
pub fn page(report: &Report) -> String {
    let heard = report.pairs.iter().filter(|pair| pair.heard).count();
    let mut page = format!(
        concat!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">",
            "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">",
            "<meta name=\"color-scheme\" content=\"light dark\">",
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
            "<title>Call of {members}</title><style>{style}</style></head><body><main>",
            "<header><h1>Call of {members}</h1><p class=\"{mood}\">{heard} of {pairs} voices heard</p></header>"
        ),
        members = escaped(&and(&report.members)),
        style = STYLE,
        mood = if report.all_heard() { "good" } else { "bad" },
        heard = heard,
        pairs = report.pairs.len(),
    );
    summary(report, &mut page);
    for pair in &report.pairs {
        details(pair, &mut page);
    }
    let _ =
        write!(page, "<footer>Recordings: <code>{}</code></footer>", escaped(&report.recordings.display().to_string()));
    page.push_str("</main></body></html>\n");
    page
}

fn summary(report: &Report, page: &mut String) {
    page.push_str("<div class=\"wide\"><table><thead><tr>");
    for head in table::HEAD {
        let _ = write!(page, "<th scope=\"col\">{head}</th>");
    }
    page.push_str("</tr></thead><tbody>");
    for pair in &report.pairs {
        let _ = write!(page, "<tr class=\"{}\">", if pair.heard { "good" } else { "bad" });
        for cell in table::cells(pair) {
            let _ = write!(page, "<td>{}</td>", escaped(&cell));
        }
        page.push_str("</tr>");
    }
    page.push_str("</tbody></table></div>");
    page.push_str(
        "<p class=\"small\">Address: where the speaker sends its voice. Connect: from learning of the other to the \
         secure session. Mouth to ear: median over the seconds with speech, found by cross-correlation. Loss: frames \
         that the network lost. Missing: speech of which nothing is heard. Quality: extended short-time objective intelligibility (ESTOI), 0 to 1.</p>",
    );
}

fn details(pair: &Pair, page: &mut String) {
    let [from, to, heard, path, addr, connect, delay, loss, _, quality] = table::cells(pair).map(|cell| escaped(&cell));
    let _ = write!(page, "<section><h2>{from} <span>to</span> {to}</h2><dl>");
    let gain = pair.hearing.gain_db.map_or("-".to_owned(), |gain| format!("{gain:+.1} dB"));
    let missing = match pair.missing_ms {
        Some(missing) => format!("{missing} of {} ms", pair.hearing.spoken_ms),
        None => "all".to_owned(),
    };
    let facts = [
        ("heard", heard),
        ("path", format!("{path} {addr}")),
        ("connect", connect),
        ("mouth to ear", delay),
        ("loss", loss),
        ("quality", quality),
        ("speech missing", missing),
        ("level", gain),
    ];
    for (name, value) in facts {
        let _ = write!(page, "<div><dt>{name}</dt><dd>{value}</dd></div>");
    }
    let hearing = &pair.hearing;
    let _ = write!(
        page,
        "</dl><figure class=\"sound\">{}<figcaption><b class=\"said\">said</b> above <b class=\"heard\">heard</b>, \
         word under word</figcaption></figure><div class=\"two\"><figure>{}<figcaption>mouth to ear, ms</figcaption>\
         </figure><figure>{}<figcaption>level of what was <b class=\"said\">said</b> and <b class=\"heard\">heard</b>, dB of full scale</figcaption></figure></div></section>",
        plot::waveforms(hearing),
        plot::delays(hearing),
        plot::levels(hearing),
    );
}

/// Names in a sentence.
fn and(names: &[String]) -> String {
    match names {
        [] => "nobody".to_owned(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_listed_as_people_do() {
        let names = ["ann", "bob", "cleo"].map(str::to_owned);
        assert_eq!([and(&names[..0]), and(&names[..1]), and(&names)], ["nobody", "ann", "ann, bob and cleo"]);
    }
}
