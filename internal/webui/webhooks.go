package webui

import "time"

// webhook is an address that is told what happens.
type webhook struct {
	ID             string    `json:"id"`
	URL            string    `json:"url"`
	Events         []string  `json:"events"`
	Status         string    `json:"status"`
	Reason         string    `json:"reason"`
	Since          time.Time `json:"since"`
	Failures       int       `json:"failures"`
	FailingSince   time.Time `json:"failingSince"`
	RestUntil      time.Time `json:"restUntil"`
	Waiting        int       `json:"waiting"`
	OldSecretUntil time.Time `json:"oldSecretUntil"`
}

// State is how a webhook does, in a word.
func (w webhook) State() string {
	switch {
	case w.Status == "disabled":
		return "disabled"
	case w.Failures > 0:
		return "failing"
	}
	return "enabled"
}

// delivery is one post to a webhook.
type delivery struct {
	ID            string    `json:"id"`
	EventID       string    `json:"eventId"`
	Type          string    `json:"type"`
	Attempt       int       `json:"attempt"`
	At            time.Time `json:"at"`
	Outcome       string    `json:"outcome"`
	Status        int       `json:"status"`
	Milliseconds  int       `json:"milliseconds"`
	Error         string    `json:"error"`
	NextAttemptAt time.Time `json:"nextAttemptAt"`
}

func (v *visit) webhooks() error {
	w := struct {
		ID       string
		Webhooks []webhook
	}{ID: v.channel()}
	var list struct {
		Data []webhook `json:"data"`
	}
	if err := v.get(apiPath(w.ID, "webhooks"), &list); err != nil {
		return err
	}
	w.Webhooks = list.Data
	return v.renderChannel("webhooks", "Webhooks", "webhooks", w, "webhooks.js")
}

func (v *visit) webhook() error {
	w := struct {
		ID         string
		Webhook    webhook
		Deliveries []delivery
		Next       string
	}{ID: v.channel()}
	id := v.r.PathValue("webhook")
	if err := v.get(apiPath(w.ID, "webhooks", id), &w.Webhook); err != nil {
		return err
	}
	path := apiPath(w.ID, "webhooks", id, "deliveries")
	if cursor := v.r.FormValue("cursor"); cursor != "" {
		path += "?cursor=" + urlQuery(cursor)
	}
	var list struct {
		Data       []delivery `json:"data"`
		NextCursor string     `json:"nextCursor"`
	}
	if err := v.get(path, &list); err != nil {
		return err
	}
	w.Deliveries = list.Data
	if list.NextCursor != "" {
		w.Next = pagePath(w.ID, "webhooks", id) + "?cursor=" + urlQuery(list.NextCursor)
	}
	return v.renderChannel("webhook", "Webhook", "webhooks", w, "webhooks.js")
}
