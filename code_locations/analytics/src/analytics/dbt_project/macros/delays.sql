{# The measures of every mart, so that a delay means the same in each of them. #}
{% macro delay_measures() %}
    count(*) as flights,
    count(*) filter (where is_cancelled) as cancelled_flights,
    count(*) filter (where departure_delay_minutes > {{ delayed_after_minutes() }}) as delayed_departures,
    count(*) filter (where arrival_delay_minutes > {{ delayed_after_minutes() }}) as delayed_arrivals,
    avg(departure_delay_minutes) as average_departure_delay_minutes,
    avg(arrival_delay_minutes) as average_arrival_delay_minutes,
    max(departure_delay_minutes) as longest_departure_delay_minutes
{%- endmacro %}

{# Aviation's usual line: up to a quarter of an hour is on time. #}
{% macro delayed_after_minutes() %}15{% endmacro %}
