// Package report shows the results of a run: as lines on a terminal, as an HTML
// page, as the table of a README, and as the difference of two runs.
package report
