//! The end of the program, as every task hears of it.

use tokio::sync::watch;

/// Tells all tasks to end.
pub(crate) struct Stopper(watch::Sender<bool>);

/// Hears of the end.
#[derive(Clone)]
pub(crate) struct Stop(watch::Receiver<bool>);

pub(crate) fn channel() -> (Stopper, Stop) {
    let (stopper, stop) = watch::channel(false);
    (Stopper(stopper), Stop(stop))
}

impl Stopper {
    pub(crate) fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl Stop {
    /// Returns when the program is to end, also if it has heard so already.
    pub(crate) async fn requested(&mut self) {
        // Without a stopper nobody runs the program any more.
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}
