package webui

func (s *Site) bulkRoutes() []route {
	return []route{
		{"GET /channels/{id}/bulk", forSignedIn, (*visit).bulks},
		{"GET /channels/{id}/bulk/new", forSignedIn, (*visit).newBulk},
		{"GET /channels/{id}/bulk/{bid}", forSignedIn, (*visit).bulk},
	}
}

type bulksView struct {
	ID    string
	Bulks []bulk
	Older string
}

func (v *visit) bulks() error {
	b := bulksView{ID: v.channel()}
	path := apiPath(b.ID, "bulk")
	if cursor := v.r.FormValue("cursor"); cursor != "" {
		path += "?cursor=" + urlQuery(cursor)
	}
	var list struct {
		Data       []bulk `json:"data"`
		NextCursor string `json:"nextCursor"`
	}
	if err := v.get(path, &list); err != nil {
		return err
	}
	b.Bulks = list.Data
	if list.NextCursor != "" {
		b.Older = pagePath(b.ID, "bulk") + "?cursor=" + urlQuery(list.NextCursor)
	}
	return v.renderChannel("bulks", "Bulk sends", "bulk", b)
}

func (v *visit) newBulk() error {
	// Asked for its refusal alone: whoever may not see the channel is told so here, not after a long form.
	var s session
	if err := v.get(apiPath(v.channel(), "session"), &s); err != nil {
		return err
	}
	return v.renderChannel("newbulk", "New bulk send", "bulk", struct {
		ID      string
		Session session
	}{v.channel(), s}, "newbulk.js")
}

type bulkView struct {
	ID   string
	Bulk bulk
}

// Parts are the shares of the bulk's messages, for the bar that shows them.
func (b bulkView) Parts() []chartPart {
	if b.Bulk.Total == 0 {
		return nil
	}
	var parts []chartPart
	left := 0
	for _, share := range []struct {
		class string
		n     int
	}{
		{"c-read", b.Bulk.Counts["read"]},
		{"c-delivered", b.Bulk.Counts["delivered"]},
		{"c-sent", b.Bulk.Counts["sent"]},
		{"c-unknown", b.Bulk.Counts["unknown"]},
		{"c-failed", b.Bulk.Counts["failed"] + b.Bulk.Counts["expired"]},
		{"c-canceled", b.Bulk.Counts["canceled"]},
	} {
		if share.n == 0 {
			continue
		}
		at := func(n int) float64 { return float64(n) / float64(b.Bulk.Total) * chartWidth }
		parts = append(parts, chartPart{Class: share.class, X: coordinate(at(left)), Y: "0", Width: coordinate(at(share.n)), Height: "20"})
		left += share.n
	}
	return parts
}

func (v *visit) bulk() error {
	b := bulkView{ID: v.channel()}
	if err := v.get(apiPath(b.ID, "bulk", v.r.PathValue("bid")), &b.Bulk); err != nil {
		return err
	}
	return v.renderChannel("bulk", b.Bulk.Title(), "bulk", b)
}
