//! The `answer` thread: tells producers what became of their events, once it is durable.
//!
//! It has a connection of its own, so that a slow reader of the road holds up no answer. When all answers of a round are with the
//! server, the road's `answered` mark moves, and the next round records it; after a crash, what lies between mark and cursor is
//! answered again. Answers that nobody listens to any more are lost, and harmless: the producer asks again with the same bytes.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, HeaderMap, Subject};
use bytes::Bytes;
use ledger::append::{CommittedLog, Disposition};
use ledger::entry::Header;
use ledger::kv::Kv;
use ledger::read::{Log, ReadError};
use ledger::receipt::Receipt;
use schemas::ids;
use tokio::sync::{mpsc, watch};

use crate::admit::asks_for_answer;
use crate::answer::{Answer, Problem, Status};
use crate::batch::{AnswerPart, Answers, Received};
use crate::shared::{Common, TenantState};

/// How long the server may take to accept what we send once we are to stop. Until then there is no limit: while the connection is
/// down nothing is lost by waiting, and nothing arrives that would want an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Headers and protocol overhead that come on top of a body.
const OVERHEAD_BYTES: usize = 1_024;

/// Answers until everybody who sends to it has ended.
pub(crate) async fn run<K: Kv>(
    kv: Arc<K>,
    client: Client,
    mut answers: mpsc::Receiver<Answers>,
    common: Arc<Common>,
    stop: watch::Receiver<bool>,
) {
    let answerer = Answerer { kv, client, stop };
    while let Some(next) = answers.recv().await {
        let outcome = match next {
            Answers::Round { committed, parts } => {
                let mut outcome = Ok(());
                for (position, part) in parts.iter().enumerate() {
                    let receipt = |index| committed.receipt(&answerer.kv, position, index);
                    let told = answerer.answer_round(&committed.logs()[position], part, receipt).await;
                    outcome = outcome.and(told);
                }
                outcome
            }
            Answers::Again { road, messages } => answerer.answer_again(&road, messages).await,
        };
        match outcome {
            Ok(()) => common.troubles.clear("answer"),
            Err(error) => drop(common.troubles.set("answer", format!("an answer can't be given: {error}"))),
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum AnswerError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the server does not take it")]
    Send,
}

struct Answerer<K> {
    kv: Arc<K>,
    client: Client,
    stop: watch::Receiver<bool>,
}

impl<K: Kv> Answerer<K> {
    async fn answer_round(
        &self,
        log: &CommittedLog,
        part: &AnswerPart,
        receipt: impl Fn(u64) -> Result<Receipt, ReadError>,
    ) -> Result<(), AnswerError> {
        for (sequence, problem) in &part.replies.problems {
            let Some(Disposition::Rejected { index }) = disposition(log, *sequence) else { continue };
            let problem = Problem { index: Some(index), ..problem.clone() };
            self.notify(&part.road, &problem).await?;
        }
        let mut outcome = Ok(());
        for (sequence, reply) in &part.replies.asked {
            let answered = match disposition(log, *sequence) {
                Some(Disposition::Accepted { index }) => {
                    self.send_receipt(reply, Status::Accepted, index, receipt(index)).await
                }
                Some(Disposition::Duplicate { index }) => {
                    self.send_receipt(reply, Status::Duplicate, index, receipt(index)).await
                }
                Some(Disposition::Rejected { index }) => match problem_of(part, *sequence) {
                    Some(problem) => self.send_problem(reply, index, problem).await,
                    None => Ok(()),
                },
                Some(Disposition::Noted { .. }) | None => Ok(()),
            };
            outcome = outcome.and(Self::unless_stuck(answered)?);
        }
        self.flush(&part.road, part.cuts, part.sequence, !part.replies.asked.is_empty()).await.and(outcome)
    }

    /// One receipt that can't be made (the store has a damaged row) holds up no other; a server that takes nothing does.
    fn unless_stuck(answered: Result<(), AnswerError>) -> Result<Result<(), AnswerError>, AnswerError> {
        match answered {
            Err(AnswerError::Send) => Err(AnswerError::Send),
            other => Ok(other),
        }
    }

    /// Answers messages that were durable before we started. Whose bytes are an entry, whose are a duplicate of one, and whose
    /// were rejected, the ledger knows.
    async fn answer_again(&self, road: &TenantState, messages: Vec<Received>) -> Result<(), AnswerError> {
        let asked: Vec<(&Received, Subject)> =
            messages.iter().filter_map(|message| Some((message, asks_for_answer(&message.message, road)?))).collect();
        let (Some(first), Some(last)) = (messages.first(), messages.last()) else { return Ok(()) };
        let mut outcome = Ok(());
        if !asked.is_empty() {
            let log = Log::open(Arc::clone(&self.kv), road.log)?;
            let entries = log.by_road(first.sequence..last.sequence + 1)?;
            for (received, reply) in &asked {
                let index = entries.get(&received.sequence).copied();
                let answered = self.answer_one_again(&log, road, received, reply, index).await;
                outcome = outcome.and(Self::unless_stuck(answered)?);
            }
        }
        self.flush(road, 0, last.sequence, !asked.is_empty()).await.and(outcome)
    }

    async fn answer_one_again(
        &self,
        log: &Log<Arc<K>>,
        road: &TenantState,
        received: &Received,
        reply: &Subject,
        index: Option<u64>,
    ) -> Result<(), AnswerError> {
        let Some(index) = index else {
            let message = &received.message;
            let fingerprint = road.dedupe.fingerprint(message.subject.as_str(), &message.payload);
            return match log.duplicate_of(&fingerprint)? {
                Some(index) => self.send_receipt(reply, Status::Duplicate, index, log.receipt(index)).await,
                None => Ok(()),
            };
        };
        match log.header(index)? {
            Some(Header::Event(_) | Header::Control(_)) => {
                self.send_receipt(reply, Status::Accepted, index, log.receipt(index)).await
            }
            Some(Header::Rejection(_)) => match log.rejection(index)? {
                Some((row, _)) => {
                    let details = &row.details;
                    let problem = Problem::new(row.reason, &details.path, &details.found, &details.expected);
                    self.send_problem(reply, index, problem).await
                }
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    async fn send_receipt(
        &self,
        to: &Subject,
        status: Status,
        index: u64,
        receipt: Result<Receipt, ReadError>,
    ) -> Result<(), AnswerError> {
        let text = fitting(receipt?, self.client.max_payload());
        let answer = Answer { status, index, body: text.into_bytes() };
        self.publish(to.clone(), Some(answer.headers()), answer.body).await
    }

    async fn send_problem(&self, to: &Subject, index: u64, problem: Problem) -> Result<(), AnswerError> {
        let body = Problem { index: Some(index), subject: None, ..problem }.to_json();
        let answer = Answer { status: Status::Rejected, index, body };
        self.publish(to.clone(), Some(answer.headers()), answer.body).await
    }

    async fn notify(&self, road: &TenantState, problem: &Problem) -> Result<(), AnswerError> {
        self.publish(ids::rejected_subject(&road.tenant).into(), None, problem.to_json()).await
    }

    async fn publish(&self, to: Subject, headers: Option<HeaderMap>, body: Vec<u8>) -> Result<(), AnswerError> {
        let body = Bytes::from(body);
        let sending = async {
            match headers {
                Some(headers) => self.client.publish_with_headers(to, headers, body).await,
                None => self.client.publish(to, body).await,
            }
        };
        self.patiently(async { sending.await.is_ok() }).await
    }

    /// Moves the mark once the server has everything.
    async fn flush(&self, road: &TenantState, cuts: u32, sequence: u64, sent: bool) -> Result<(), AnswerError> {
        if sent {
            self.patiently(async { self.client.flush().await.is_ok() }).await?;
        }
        road.set_answered(cuts, sequence);
        Ok(())
    }

    /// Waits for the server; without end, or, once we are to stop, for a while.
    async fn patiently(&self, sending: impl Future<Output = bool>) -> Result<(), AnswerError> {
        let mut stop = self.stop.clone();
        let enough = async {
            let _ = stop.wait_for(|stop| *stop).await;
            tokio::time::sleep(PATIENCE).await;
        };
        tokio::select! {
            biased;
            sent = sending => if sent { Ok(()) } else { Err(AnswerError::Send) },
            () = enough => Err(AnswerError::Send),
        }
    }
}

/// What became of the message with this sequence. Dispositions are in the order of the road.
fn disposition(log: &CommittedLog, sequence: u64) -> Option<Disposition> {
    let place = log.dispositions.binary_search_by_key(&sequence, |(of, _)| *of).ok()?;
    Some(log.dispositions[place].1)
}

fn problem_of(part: &AnswerPart, sequence: u64) -> Option<Problem> {
    let problems = &part.replies.problems;
    let place = problems.binary_search_by_key(&sequence, |(of, _)| *of).ok()?;
    Some(problems[place].1.clone())
}

/// The receipt's text, without the payload where the server would not take it.
fn fitting(receipt: Receipt, limit: usize) -> String {
    let text = receipt.to_text();
    if text.len() + OVERHEAD_BYTES <= limit || receipt.payload.is_none() {
        return text;
    }
    Receipt { payload: None, ..receipt }.to_text()
}
