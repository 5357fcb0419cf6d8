package wa

import (
	"context"
	"time"

	"go.mau.fi/whatsmeow"
	"go.mau.fi/whatsmeow/types/events"

	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/wa/convert"
)

// PairTimings are the times of pairing; zero fields mean the defaults, which are WhatsApp Web's.
type PairTimings struct {
	FirstCode time.Duration // how long the first QR code is on show; 60 s
	NextCodes time.Duration // how long each further one is; 20 s
	Settle    time.Duration // how long the server may take to ask for the login after pairing; 5 s
}

func (t PairTimings) withDefaults() PairTimings {
	if t.FirstCode <= 0 {
		t.FirstCode = 60 * time.Second
	}
	if t.NextCodes <= 0 {
		t.NextCodes = 20 * time.Second
	}
	if t.Settle <= 0 {
		t.Settle = 5 * time.Second
	}
	return t
}

// browser is what the phone is told of who asks for a code. WhatsApp refuses what is not a browser it knows with an
// operating system it knows, in this form.
const (
	browser     = whatsmeow.PairClientChrome
	browserName = "Chrome (Linux)"
)

// codeTimeout bounds the one query for a code.
const codeTimeout = 15 * time.Second

// Pair connects a client without a number. It returns when the connection stands; ClientPairCode events follow, then
// ClientPaired or ClientPairFailed. With a phone (E.164 digits) there is one code, which that phone is to enter; without, QR
// codes come one after the other. A paired client is discarded: the next one is made with the JID that was reported.
func (c *Client) Pair(ctx context.Context, phone string) error {
	conn := newConnection(ctx)
	conn.pairing, conn.phone = true, phone
	return c.dial(ctx, conn)
}

// showCodes reports codes for as long as the server takes them: the QR codes that it gave out, or, as the connection is
// known to stand now, the one code that it is asked for.
func (c *Client) showCodes(codes []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	conn := c.conn
	if conn == nil || !conn.pairing {
		return
	}
	if conn.qr != nil {
		conn.qr()
	}
	ctx, cancel := context.WithCancel(conn.ctx)
	conn.qr = cancel
	if conn.phone != "" {
		go c.showPhoneCode(ctx, conn.phone, len(codes))
		return
	}
	go c.rotateCodes(ctx, codes)
}

// showPhoneCode asks for a code for phone and reports it. It lives as long as the QR codes would, one after the other: then
// the server ends the connection.
func (c *Client) showPhoneCode(ctx context.Context, phone string, codes int) {
	until := time.Now().Add(c.opts.PairTimings.FirstCode + time.Duration(max(codes-1, 0))*c.opts.PairTimings.NextCodes)
	asking, cancel := context.WithTimeout(ctx, codeTimeout)
	defer cancel()
	code, err := c.cli.PairPhone(asking, phone, true, browser, browserName)
	if err != nil {
		if ctx.Err() == nil { // else it is not wanted any more
			c.log.Warn("WhatsApp gave no pairing code", "error", err)
		}
		c.giveUp(ctx, gateway.ReasonPairingFailed)
		return
	}
	c.emit(ctx, gateway.ClientEvent{Kind: gateway.ClientPairCode, Reason: gateway.ReasonEnterCode, Code: code, Until: until.UTC()})
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-timer.C:
		c.giveUp(ctx, gateway.ReasonPairingTimeout)
	case <-ctx.Done():
	}
}

func (c *Client) rotateCodes(ctx context.Context, codes []string) {
	show := c.opts.PairTimings.FirstCode
	for _, code := range codes {
		c.emit(ctx, gateway.ClientEvent{
			Kind: gateway.ClientPairCode, Reason: gateway.ReasonScanQR, Code: code, Until: time.Now().Add(show).UTC(),
		})
		timer := time.NewTimer(show)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		show = c.opts.PairTimings.NextCodes
	}
	c.giveUp(ctx, gateway.ReasonPairingTimeout)
}

// giveUp ends the pairing whose show of codes ctx belongs to, unless the phone was quicker just now, which is looked at under
// the lock.
func (c *Client) giveUp(ctx context.Context, reason gateway.SessionReason) {
	c.mu.Lock()
	waiting := c.conn != nil && c.conn.ctx.Err() == nil && ctx.Err() == nil && c.conn.paired == nil
	c.mu.Unlock()
	if waiting {
		c.end(gateway.ClientEvent{Kind: gateway.ClientPairFailed, Reason: reason}) //nolint:contextcheck // the event outlives the show of codes
	}
}

// pairSuccess notes the new number. It is reported when the server asks for a login, for only then has it registered
// the device; should it not ask, after a while.
func (c *Client) pairSuccess(e *events.PairSuccess) {
	if c.notePaired(e) {
		c.reportPaired()
	}
}

// notePaired reports whether the server has asked for the login already.
func (c *Client) notePaired(e *events.PairSuccess) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.device = e.ID
	c.pn, c.lid = e.ID.ToNonAD(), e.LID.ToNonAD()
	conn := c.conn
	if conn == nil {
		return false
	}
	if conn.qr != nil {
		conn.qr()
	}
	conn.paired = &gateway.ClientEvent{
		Kind: gateway.ClientPaired, JID: e.ID.String(), LID: convert.Bare(e.LID), Detail: "platform " + e.Platform,
	}
	if conn.loginAsked {
		return true
	}
	timer := time.AfterFunc(c.opts.PairTimings.Settle, func() { c.reportPaired() })
	context.AfterFunc(conn.ctx, func() { timer.Stop() })
	return false
}

// loginAsked ends a connection whose pairing is done. whatsmeow may tell so before it tells of the pairing itself, which
// then is on its way: it is waited for, also when the server closes the connection meanwhile.
func (c *Client) loginAsked() {
	c.mu.Lock()
	conn := c.conn
	early := conn != nil && conn.pairing && conn.paired == nil
	if early {
		conn.loginAsked = true
	}
	c.mu.Unlock()
	switch {
	case early:
		timer := time.AfterFunc(c.opts.PairTimings.Settle, func() {
			c.end(gateway.ClientEvent{Kind: gateway.ClientPairFailed, Reason: gateway.ReasonPairingFailed})
		})
		context.AfterFunc(conn.ctx, func() { timer.Stop() })
	case !c.reportPaired():
		c.closing(gateway.ReasonServerError) // outside of pairing the server merely wants a new connection
	}
}

// awaitsPairing reports whether the server has asked for a login and the pairing has not been told of yet.
func (c *Client) awaitsPairing() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn != nil && c.conn.loginAsked && c.conn.paired == nil
}

// reportPaired ends a connection that has paired a number and reports that. False: it has not.
func (c *Client) reportPaired() bool {
	c.mu.Lock()
	var event *gateway.ClientEvent
	if c.conn != nil {
		event = c.conn.paired
	}
	c.mu.Unlock()
	if event == nil {
		return false
	}
	c.end(*event)
	return true
}
