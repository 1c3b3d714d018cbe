from cdrzoo.report.pages import report as report
