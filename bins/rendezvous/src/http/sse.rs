//! Server-sent events: the feed as an endless answer.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use hyper::{Response, header};
use registry::ChannelName;
use tokio::sync::mpsc;

use super::{App, body::Answer, problem::Problem, router::Asked};
use crate::feed::Entry;

/// How often a stream says that it is there.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// A subscriber that takes nothing for so long is gone.
const UNREAD: Duration = Duration::from_secs(30);

/// Answers with a stream: what happened since `Last-Event-ID`, then what happens.
pub(super) fn stream(app: &Arc<App>, asked: &Asked, only: Option<ChannelName>) -> Result<Response<Answer>, Problem> {
    let permit = app.streams.try_acquire().map_err(|_| Problem::unavailable("too many streams of events"))?;
    permit.forget(); // given back at the stream's end
    let last = asked.header("last-event-id").or_else(|| asked.query.value("after"));
    let start = match last.map(|id| app.feed.number(id)) {
        None => Start::At(app.feed.latest()),
        Some(Some(number)) => Start::At(number),
        Some(None) => Start::Lost,
    };
    let (pieces, answer) = mpsc::channel(1);
    let writer = Writer { app: Arc::clone(app), only, pieces };
    tokio::spawn(writer.run(start));
    let mut response = Response::new(Answer::Stream(answer));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/event-stream"));
    headers.insert("x-accel-buffering", header::HeaderValue::from_static("no"));
    Ok(response)
}

enum Start {
    At(u64),
    /// The subscriber's place is of another run.
    Lost,
}

struct Writer {
    app: Arc<App>,
    only: Option<ChannelName>,
    pieces: mpsc::Sender<Bytes>,
}

/// The subscriber is gone, or the program ends.
struct Over;

impl Drop for Writer {
    fn drop(&mut self) {
        self.app.streams.add_permits(1);
    }
}

impl Writer {
    async fn run(self, start: Start) {
        let mut news = self.app.feed.subscribe();
        let mut stop = self.app.stop.clone();
        let mut place = match start {
            Start::At(number) => number,
            Start::Lost => self.app.feed.latest(),
        };
        // An id from the start, so that the first reconnection has one to name.
        let mut text = format!("retry: 2000\nid: {}\n\n", self.app.feed.id(place));
        if matches!(start, Start::Lost) {
            text += &self.reset(place);
        }
        loop {
            let more = self.since(&mut place);
            if self.write(text + &more).await.is_err() {
                return;
            }
            text = String::new();
            tokio::select! {
                changed = news.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(HEARTBEAT) => text = ":\n\n".into(),
                () = self.pieces.closed() => return,
                () = stop.requested() => return,
            }
        }
    }

    fn since(&self, place: &mut u64) -> String {
        let Ok(entries) = self.app.feed.after(*place) else {
            *place = self.app.feed.latest();
            return self.reset(*place);
        };
        *place = entries.last().map_or(*place, |entry| entry.number);
        let wanted = entries.iter().filter(|entry| self.only.as_ref().is_none_or(|only| entry.channel == *only));
        wanted.map(|entry| self.event(entry)).collect()
    }

    fn event(&self, entry: &Entry) -> String {
        format!("id: {}\nevent: {}\ndata: {}\n\n", self.app.feed.id(entry.number), entry.kind, entry.data)
    }

    fn reset(&self, place: u64) -> String {
        format!("id: {}\nevent: reset\ndata: {{}}\n\n", self.app.feed.id(place))
    }

    async fn write(&self, text: String) -> Result<(), Over> {
        if text.is_empty() {
            return Ok(());
        }
        let sent = tokio::time::timeout(UNREAD, self.pieces.send(text.into())).await;
        sent.map_err(|_| Over)?.map_err(|_| Over)
    }
}
