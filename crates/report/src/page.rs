//! The page about a call.

use std::fmt::Write;

use crate::{
    call::Call,
    person::{Events, Person},
    plots,
    words::{Row, date, moment, span},
};

const STYLE: &str = include_str!("page.css");
/// More events than these are shown when they are asked for.
const FEW: usize = 8;

pub(crate) fn page(call: &Call) -> String {
    let mut people: Vec<&Person> = call.people.values().collect();
    people.sort_by(|a, b| a.name.cmp(&b.name));
    let (channel, own) = (escaped(&call.channel), escaped(&call.own.name));
    let mut page = format!(
        concat!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">",
            "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">",
            "<meta name=\"color-scheme\" content=\"light dark\">",
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
            "<title>Call in {channel}</title><style>{style}</style></head><body><main>",
            "<header><h1>Call in <bdi>{channel}</bdi></h1><p>{date}, {length}, as <bdi>{own}</bdi> heard it</p></header>"
        ),
        channel = channel,
        style = STYLE,
        date = date(call.began_unix_s),
        length = span(call.length.as_millis() as u64),
        own = own,
    );
    summary(call, &people, &mut page);
    for person in &people {
        details(call, person, &mut page);
    }
    ourselves(call, &mut page);
    page.push_str("</main></body></html>\n");
    page
}

fn summary(call: &Call, people: &[&Person], page: &mut String) {
    if people.is_empty() {
        page.push_str("<p>nobody else was there</p>");
        return;
    }
    page.push_str("<div class=\"wide\"><table><thead><tr>");
    for head in ["who", "path", "mouth to ear", "packets lost", "missing", "was there"] {
        let _ = write!(page, "<th scope=\"col\">{head}</th>");
    }
    page.push_str("</tr></thead><tbody>");
    for person in people {
        let Row { path, delay, lost, missing, there } = Row::of(call, person);
        let _ = write!(page, "<tr><th scope=\"row\"><bdi>{}</bdi></th>", escaped(&person.name));
        for cell in [path, delay, lost, missing, there] {
            let _ = write!(page, "<td>{}</td>", escaped(&cell));
        }
        page.push_str("</tr>");
    }
    page.push_str("</tbody></table></div>");
    if call.left_out > 0 {
        let _ = write!(
            page,
            "<p class=\"small\">More people came than are kept: {} times one was left out.</p>",
            call.left_out
        );
    }
    let _ = write!(
        page,
        "<p class=\"small\">Mouth to ear is the median, and an estimate: microphone and encoder there are taken to be as here \
         ({:.1} ms), the network to take half of a round trip. Missing is what nothing brought back, so that it was made up. \
         One step of a plot is {}.</p>",
        call.stages.capture_ms,
        span(call.span.as_millis() as u64),
    );
}

fn details(call: &Call, person: &Person, page: &mut String) {
    let row = Row::of(call, person);
    let _ = write!(
        page,
        "<section><h2><bdi>{}</bdi></h2><p class=\"fact\">{}, {} from mouth to ear; packets lost: {}; missing: {}</p><div class=\"plots\">",
        escaped(&person.name),
        escaped(&row.path),
        row.delay,
        row.lost,
        row.missing
    );
    let figures = [
        (plots::path(call, person), "", &["direct", "member", "relay", "none", "muted"][..]),
        (plots::level(call, person), "level, dB of full scale", &[]),
        (plots::delay(call, person), "delay, ms:", &["capture", "network", "buffer", "playout"]),
        (plots::buffer(call, person), "jitter buffer, ms:", &["target", "waits", "jitter"]),
        (plots::loss(call, person), "% of packets", &["lost", "late"]),
        (plots::repair(call, person), "what stood in, % of the voice:", &["next", "copy", "deep", "concealed"]),
        (plots::theirs(call, person), "your voice there, % of packets", &["lost", "late"]),
        (plots::made_up_there(call, person), "your voice there, ms of each second", &["concealed"]),
    ];
    for (svg, words, classes) in figures {
        let _ = write!(page, "<figure>{svg}<figcaption>{words}");
        for class in classes {
            let _ = write!(page, " <b class=\"key {class}\">{}</b>", legend(class));
        }
        page.push_str("</figcaption></figure>");
    }
    page.push_str("</div>");
    events(&person.events, page);
    page.push_str("</section>");
}

/// What a colour stands for.
fn legend(class: &str) -> &str {
    match class {
        "member" => "through a member",
        "relay" => "through the server",
        "none" => "no path",
        "waits" => "delay",
        "next" => "next packet (LBRR)",
        "deep" => "DRED",
        "concealed" => "made up",
        "jitter" => "jitter, 98 %",
        other => other,
    }
}

fn ourselves(call: &Call, page: &mut String) {
    let svg = plots::level(call, &call.own);
    let _ = write!(
        page,
        "<section><h2>Your own voice</h2><div class=\"plots\"><figure>{svg}<figcaption>level, dB of full scale</figcaption></figure></div>"
    );
    events(&call.own.events, page);
    page.push_str("</section>");
}

fn events(events: &Events, page: &mut String) {
    if events.kept.is_empty() {
        return;
    }
    let is_open = if events.kept.len() <= FEW { " open" } else { "" };
    let all = events.kept.len() as u64 + events.dropped;
    let _ = write!(page, "<details{is_open}><summary>What happened ({all})</summary>");
    if events.dropped > 0 {
        let _ = write!(page, "<p class=\"small\">The first {} are not kept.</p>", events.dropped);
    }
    page.push_str("<ol>");
    for (at, what) in &events.kept {
        let _ = write!(page, "<li><time>{}</time> <bdi>{}</bdi></li>", moment(*at), escaped(what));
    }
    page.push_str("</ol></details>");
}

/// Gives text as HTML. What reorders or controls text is replaced: it must not change what stands around it.
pub fn escaped(raw: &str) -> String {
    raw.chars().fold(String::new(), |mut out, c| {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}' => {
                out.push('\u{fffd}');
            }
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_not_markup_and_turns_nothing_around() {
        assert_eq!(escaped("<a href=\"x\">'&\u{1b}\u{202e}"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;\u{fffd}\u{fffd}");
    }
}
