//! Origin server to client: heads are read and written anew, content passes by.

use bytes::Bytes;
use titan_proto::{
    http::{Asked, Content, ResponseError, ResponseHead, ResponseKind, ResponseReader},
    mux::Received,
};

use super::{
    exchange::{Done, Exchange},
    failure::Failure,
    origin::OriginEnd,
    outgoing::Outgoing,
};

/// Passes a response on until the client's socket has all of it.
pub(super) async fn pass_on(exchange: &Exchange<'_>, asked: Asked) -> Result<Done, Failure> {
    let mut outgoing = Outgoing::default();
    let (head, rest) = final_head(exchange, asked, &mut outgoing).await?;
    outgoing.push_head(head.head.clone(), true);
    if head.kind == ResponseKind::Switched {
        outgoing.flush(exchange).await?;
        if !rest.is_empty() {
            exchange.session.put_back(rest);
        }
        return Ok(Done::Switched);
    }
    let persistence = head.persistence;
    let mut download = Download {
        exchange,
        content: head.content,
        is_unchunked: head.is_unchunked,
        end: if head.origin_persists {
            OriginEnd::Idle
        } else {
            OriginEnd::Open
        },
        outgoing,
    };
    download.take(rest)?;
    download.run().await?;
    Ok(Done::Complete(persistence, download.end))
}

/// The head of the final response, and what came behind it. Interim ones are passed on meanwhile.
async fn final_head(
    exchange: &Exchange<'_>,
    asked: Asked,
    outgoing: &mut Outgoing,
) -> Result<(ResponseHead, Bytes), Failure> {
    let mut reader = ResponseReader::new(asked);
    let mut piece = receive(exchange).await?;
    loop {
        exchange.note(|milestones| milestones.is_heard = true);
        exchange.kept.discard();
        let read = reader.push(&piece, exchange.may_persist())?;
        let rest = match read {
            Some((head, rest)) if head.kind != ResponseKind::Interim => {
                exchange.session.consumed(piece.len() - rest.len());
                return Ok((head, rest));
            }
            Some((head, rest)) => {
                outgoing.push_head(head.head, false);
                outgoing.flush(exchange).await?;
                rest
            }
            None => Bytes::new(),
        };
        exchange.session.consumed(piece.len() - rest.len());
        piece = match rest.is_empty() {
            true => receive(exchange).await?,
            false => rest,
        };
    }
}

/// The next bytes from the origin server; its end is an error here.
async fn receive(exchange: &Exchange<'_>) -> Result<Bytes, Failure> {
    exchange.meter.down().turn().await;
    let most = exchange.meter.down().quantum().unwrap_or(usize::MAX);
    loop {
        match receive_some(exchange, most) {
            Some(Received::Data(bytes)) => return Ok(bytes),
            Some(Received::End) => return Err(Failure::Cut),
            None => exchange.session.readable().await?,
        }
    }
}

/// What the session has, cut where it is more than the client's turn.
fn receive_some(exchange: &Exchange<'_>, most: usize) -> Option<Received> {
    let mut received = exchange.session.receive();
    if let Some(Received::Data(bytes)) = &mut received
        && bytes.len() > most
    {
        exchange.session.put_back(bytes.split_off(most));
    }
    received
}

/// The content of a response on its way.
struct Download<'a> {
    exchange: &'a Exchange<'a>,
    content: Content,
    /// Whether the framing of chunks stays here.
    is_unchunked: bool,
    end: OriginEnd,
    outgoing: Outgoing,
}

impl Download<'_> {
    async fn run(&mut self) -> Result<(), Failure> {
        loop {
            // Until its turn comes, what the client is owed stays in the session's window.
            self.exchange.meter.down().turn().await;
            self.gather()?;
            if !self.outgoing.is_empty() {
                self.outgoing.flush(self.exchange).await?;
            } else if self.is_over() {
                return Ok(());
            } else {
                self.exchange.session.readable().await?;
            }
        }
    }

    /// Takes what the session has, within bounds.
    fn gather(&mut self) -> Result<(), Failure> {
        let quantum = self.exchange.meter.down().quantum();
        while !self.is_over() {
            let most = match self.outgoing.room(quantum) {
                0 => break,
                room => quantum.map_or(usize::MAX, |_| room),
            };
            match receive_some(self.exchange, most) {
                Some(Received::Data(bytes)) => self.take(bytes)?,
                Some(Received::End) => self.ended()?,
                None => break,
            }
        }
        Ok(())
    }

    /// Takes bytes of the content. A server that says more than it announced is not asked again.
    fn take(&mut self, mut bytes: Bytes) -> Result<(), Failure> {
        if self.is_unchunked {
            self.take_data(&mut bytes)?;
        } else {
            let len = self.content.measure(&bytes).map_err(ResponseError::from)?;
            self.outgoing.push(bytes.split_to(len));
        }
        if !bytes.is_empty() {
            self.end = OriginEnd::Open;
        }
        Ok(())
    }

    /// Takes the data of chunks and leaves their framing.
    fn take_data(&mut self, bytes: &mut Bytes) -> Result<(), Failure> {
        while !bytes.is_empty() && !self.content.is_complete() {
            let piece = self.content.advance(bytes).map_err(ResponseError::from)?;
            drop(bytes.split_to(piece.framing));
            self.exchange.session.consumed(piece.framing);
            self.outgoing.push(bytes.split_to(piece.data));
        }
        Ok(())
    }

    fn ended(&mut self) -> Result<(), Failure> {
        if self.content != Content::UntilClose {
            return Err(Failure::Cut);
        }
        self.end = OriginEnd::Ended;
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.content.is_complete() || self.end == OriginEnd::Ended
    }
}
