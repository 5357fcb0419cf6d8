package webui

import "time"

// What pages show of the API's answers. null becomes the zero value.

// message is one message.
type message struct {
	ID            string    `json:"id"`
	TenantID      string    `json:"tenantId"`
	To            string    `json:"to"`
	RecipientJID  string    `json:"recipientJid"`
	Type          string    `json:"type"`
	Text          string    `json:"message"`
	Media         *file     `json:"media"`
	Status        string    `json:"status"`
	Phase         string    `json:"phase"`
	Priority      string    `json:"priority"`
	Reference     string    `json:"reference"`
	WhatsAppID    string    `json:"whatsappId"`
	Attempts      int       `json:"attempts"`
	NextAttemptAt time.Time `json:"nextAttemptAt"`
	Error         *failure  `json:"error"`
	BulkID        string    `json:"bulkId"`
	RetryOf       string    `json:"retryOf"`
	CreatedAt     time.Time `json:"createdAt"`
	SendAt        time.Time `json:"sendAt"`
	ExpiresAt     time.Time `json:"expiresAt"`
	SentAt        time.Time `json:"sentAt"`
	DeliveredAt   time.Time `json:"deliveredAt"`
	ReadAt        time.Time `json:"readAt"`
	FailedAt      time.Time `json:"failedAt"`
	UpdatedAt     time.Time `json:"updatedAt"`
	Queue         *place    `json:"queue"`
}

type file struct {
	Mimetype string `json:"mimetype"`
	Filename string `json:"filename"`
	Size     int64  `json:"size"`
	SHA256   string `json:"sha256"`
}

type failure struct {
	Code      string `json:"code"`
	Message   string `json:"message"`
	Retryable bool   `json:"retryable"`
}

// place is where a message stands that waits for its turn.
type place struct {
	Ahead      int  `json:"ahead"`
	ETASeconds *int `json:"etaSeconds"`
}

// Settled reports whether nothing will become of m any more by itself, receipts included.
func (m message) Settled() bool {
	switch m.Status {
	case "read", "failed", "canceled":
		return true
	}
	return false
}

// Cancelable reports whether nobody has begun to send m.
func (m message) Cancelable() bool { return m.Status == "scheduled" || m.Status == "queued" }

// Retryable reports whether m may be sent again; a message whose outcome is unknown only by force.
func (m message) Retryable() bool {
	switch m.Status {
	case "failed", "expired", "canceled", "unknown":
		return true
	}
	return false
}

type messageEvent struct {
	Status string    `json:"status"`
	At     time.Time `json:"at"`
	Detail string    `json:"detail"`
}

// bulk is a send to many.
type bulk struct {
	ID             string         `json:"id"`
	Name           string         `json:"name"`
	Status         string         `json:"status"`
	Reason         string         `json:"reason"`
	Priority       string         `json:"priority"`
	Total          int            `json:"total"`
	Counts         map[string]int `json:"counts"`
	InvalidCount   int            `json:"invalidCount"`
	Invalid        []invalidRow   `json:"invalid"`
	MaxFailureRate float64        `json:"maxFailureRate"`
	RatePerSecond  float64        `json:"ratePerSecond"`
	ETASeconds     *int           `json:"etaSeconds"`
	RetryOf        string         `json:"retryOf"`
	SendAt         time.Time      `json:"sendAt"`
	CreatedAt      time.Time      `json:"createdAt"`
	StartedAt      time.Time      `json:"startedAt"`
	FinishedAt     time.Time      `json:"finishedAt"`
}

type invalidRow struct {
	Row  int    `json:"row"`
	To   string `json:"to"`
	Code string `json:"code"`
}

// Left is how many messages something is left to do for.
func (b bulk) Left() int { return b.Counts["scheduled"] + b.Counts["queued"] + b.Counts["sending"] }

// Ended is how many are not left.
func (b bulk) Ended() int { return b.Total - b.Left() }

// Went is how many WhatsApp took.
func (b bulk) Went() int { return b.Counts["sent"] + b.Counts["delivered"] + b.Counts["read"] }

// Bad is how many came to nothing.
func (b bulk) Bad() int { return b.Counts["failed"] + b.Counts["expired"] + b.Counts["unknown"] }

// Over reports whether nothing is left to steer.
func (b bulk) Over() bool { return b.Status == "finished" || b.Status == "canceled" }

// Repeatable reports whether messages failed. Which of them are sent again the API knows: not those that were called off.
func (b bulk) Repeatable() bool { return b.Counts["failed"]+b.Counts["expired"] > 0 }

// Title is its name, or when it has none how it began.
func (b bulk) Title() string {
	if b.Name != "" {
		return b.Name
	}
	return "Bulk of " + b.CreatedAt.UTC().Format("2 January 15:04 UTC")
}
